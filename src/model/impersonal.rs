//! Free text of another service, without what may identify a person or let somebody sign in.

/// Words of a secret that are at least this long are recognised. Shorter ones occur in any text.
const MIN_PART: usize = 8;
/// A word at least this long that mixes letters and digits may be a part of a token.
const MIN_TOKEN: usize = 20;
/// No word of a message is longer than this.
const MAX_WORD: usize = 60;
/// The length of the thumbprint of a certificate.
const THUMBPRINT: usize = 40;

/// The text without addresses, account names and long tokens, and without any part of `secrets`. GUIDs and thumbprints
/// stay, because an administrator looks them up.
pub fn without_personal_data(text: &str, secrets: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let is_edge = |letter: char| letter.is_whitespace() || "\"'`<>()[]{},;|“”‘’«»".contains(letter);
    for piece in text.split_inclusive(is_edge) {
        let (word, edge) = match piece.chars().next_back() {
            Some(last) if is_edge(last) => piece.split_at(piece.len() - last.len_utf8()),
            _ => (piece, ""),
        };
        let bare = word.trim_end_matches(['.', ':', '!', '?']);
        match replacement(bare, secrets) {
            Some(replacement) => {
                kept.push_str(replacement);
                kept.push_str(&word[bare.len()..]);
            }
            None => kept.push_str(word),
        }
        kept.push_str(edge);
    }
    kept
}

fn replacement(word: &str, secrets: &[&str]) -> Option<&'static str> {
    const HIDDEN: &str = "(hidden)";
    if word.contains(['@', '\u{ff20}']) || word.to_ascii_lowercase().contains("%40") {
        return Some("(address)");
    }
    // An account of a Windows domain.
    if word.contains('\\') {
        return Some("(account)");
    }
    let is_part = |secret: &&str| {
        // A secret may contain an ordinary word, which gives nothing away.
        let is_telling = |part: &str| part == *secret || !part.chars().all(char::is_alphabetic);
        let shares = |part: &str| part.len() >= MIN_PART && is_telling(part) && secret.contains(part);
        word.split([':', '=']).any(shares) || (secret.len() >= MIN_PART && word.contains(*secret))
    };
    if secrets.iter().any(is_part) {
        return Some(HIDDEN);
    }
    if let Some((_, rest)) = word.split_once("://") {
        return rest.split(['/', '?', '#', '&', '=']).any(may_be_token).then_some("(URL)");
    }
    let names_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["secret", "password", "assertion", "token"].iter().any(|word| name.ends_with(word))
    };
    let is_value = word.split_once('=').is_some_and(|(name, value)| !value.is_empty() && names_secret(name));
    (is_value || may_be_token(word)).then_some(HIDDEN)
}

fn may_be_token(word: &str) -> bool {
    let has = |is: fn(&char) -> bool| word.chars().any(|letter| is(&letter));
    let digit_runs = word.split(|letter: char| !letter.is_ascii_digit()).filter(|run| !run.is_empty()).count();
    let is_mixed = digit_runs > 1 && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    let is_guid = uuid::Uuid::try_parse(word).is_ok();
    let is_json_web_token = word.starts_with("eyJ") && word.len() > "eyJ".len();
    let is_long = word.len() > MAX_WORD || (word.len() > THUMBPRINT && digit_runs > 2);
    is_json_web_token || is_long || (word.len() >= MIN_TOKEN && is_mixed && !is_guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_tokens_are_hidden_and_ids_stay() {
        let secret = "abc8Q~0dskfHJ.kd_83-fkdlsJWQeiur8347fhAb";
        for (text, expected) in [
            ("User 'ada.lovelace@contoso.example' does not exist.", "User '(address)' does not exist."),
            ("<ada_partner.example#EXT#@contoso.example>, mailto:a@b", "<(address)>, (address)"),
            ("upn=ada%40contoso.example", "(address)"),
            ("CONTOSO\\ada failed", "(account) failed"),
            ("Invalid token eyJhbGciOi.eyJzdWIi.c2ln: expired", "Invalid token (hidden): expired"),
            ("starts with 'eyJhbGciOiJSUzI1NiI'", "starts with '(hidden)'"),
            ("Secret abc8Q~0d... and fhAb", "Secret (hidden)... and fhAb"),
            ("Secret:abc8Q~0dsk given", "(hidden) given"),
            ("value 'xabc8Q~0dskfHJ.kd_83-fkdlsJWQeiur8347fhAbx'", "value '(hidden)'"),
            ("client_secret=hunter2 wrong", "(hidden) wrong"),
            ("k3y5AbCdEfGhIjKlMnOpQrSt==", "(hidden)"),
            ("see https://x.example/a?session=k3y5AbCdEfGhIjKlMnOpQ", "see (URL)"),
            (
                "see https://login.microsoftonline.com/error?code=7000215",
                "see https://login.microsoftonline.com/error?code=7000215",
            ),
            (
                "issuer 'https://eastus2.oic.prod-aks.azure.com/8c95acf1-cc04-40a1-ad14-481862cf1801/'",
                "issuer 'https://eastus2.oic.prod-aks.azure.com/8c95acf1-cc04-40a1-ad14-481862cf1801/'",
            ),
            (
                "app '8c95acf1-cc04-40a1-ad14-481862cf1801' of '00000003-0000-0000-c000-000000000000'",
                "app '8c95acf1-cc04-40a1-ad14-481862cf1801' of '00000003-0000-0000-c000-000000000000'",
            ),
            (
                "thumbprint '5E0A8C1B2D3F4A5B6C7D8E9F0A1B2C3D4E5F6A7B'",
                "thumbprint '5E0A8C1B2D3F4A5B6C7D8E9F0A1B2C3D4E5F6A7B'",
            ),
            (
                "UnauthorizedClient_DoesNotMatchRequest extensionAttribute15 api://AzureADTokenExchange",
                "UnauthorizedClient_DoesNotMatchRequest extensionAttribute15 api://AzureADTokenExchange",
            ),
            ("", ""),
        ] {
            assert_eq!(without_personal_data(text, &[secret]), expected);
        }
    }

    #[test]
    fn ordinary_words_stay_although_the_secret_contains_them_and_the_secret_never_does() {
        let message = "AADSTS7000215: Invalid client secret provided for application 7. Send password1 or password.";
        for secret in ["client", "secret", "s", "invalid-client-provided-application", "8c95-password-provided"] {
            assert_eq!(without_personal_data(message, &[secret]), message, "{secret}");
        }
        for secret in ["password1", "password", "provided-7"] {
            let text = format!("{message} The value '{secret}' and x{secret}x are wrong.");
            let shown = without_personal_data(&text, &[secret]);
            assert!(!shown.contains(secret) && shown.contains("Invalid client secret provided"), "{shown}");
        }
    }
}
