//! Names of generated users, in several languages and scripts, and their ASCII aliases. A name whose script cannot be
//! folded letter by letter carries its romanisation.

/// Given names; `native|romanised` where the letters cannot be folded.
#[rustfmt::skip]
pub(crate) const GIVEN_NAMES: &[&str] = &[
    "Ada", "Adam", "Adèle", "Agnieszka", "Aiko", "Aino", "Alejandra", "Aleksander", "Alice", "Álvaro", "Amara",
    "Amélie", "Anaïs", "Anders", "Andrea", "Aneta", "Anjali", "Anna-Lena", "Antonio", "Arjun", "Arthur", "Asha",
    "Astrid", "Aurélie", "Ayşe", "Beatriz", "Ben", "Benoît", "Björn", "Błażej", "Bogdan", "Camille", "Carla",
    "Carlos", "Caoimhe", "Cecília", "Céline", "Charlotte", "Chiara", "Chloé", "Christian", "Clara", "Dagmar",
    "Daniel", "Dario", "D'Andre", "David", "Deniz", "Diego", "Divya", "Dorota", "Dylan", "Eamon", "Éva", "Elif",
    "Elena", "Elżbieta", "Emeka", "Emil", "Emma", "Erik", "Esra", "Ewa", "Fatima", "Felix", "Fernanda", "Fiona",
    "François", "Françoise", "Freya", "Gabriel", "Georgios", "Giulia", "Gökhan", "Grace", "Grzegorz", "Gunnar",
    "Hana", "Hannah", "Håkon", "Helena", "Henrik", "Hugo", "Ieva", "Ignacio", "Ilse", "Inês", "Ingrid", "Irena",
    "Isabel", "Ivo", "Jakub", "James", "Jana", "Jean-Luc", "Jens", "Jiří", "João", "Johanna", "Jørgen", "José",
    "Joséphine", "Juan Pablo", "Judit", "Julia", "Jürgen", "Kamila", "Karel", "Katarzyna", "Kateřina", "Kemal",
    "Kirsten", "Klára", "Krzysztof", "Kwame", "Lars", "László", "Laura", "Lea", "Leïla", "Léo", "Liam", "Linnea",
    "Lucía", "Łukasz", "Luís", "Magnus", "Maja", "Małgorzata", "Manon", "Marcin", "Margarita", "Maria José",
    "Mariana", "Márta", "Mateusz", "Matthias", "Maël", "Mehmet", "Mia", "Michał", "Miguel", "Mirosław", "Mónica",
    "Nadia", "Naomi", "Natália", "Neha", "Niamh", "Nils", "Noémie", "Nuria", "Olga", "Oliver", "Omar", "Oskar",
    "Øyvind", "Pablo", "Paweł", "Pedro", "Petra", "Pierre", "Priya", "Rafael", "Raúl", "Renée", "Riccardo", "Robert",
    "Róisín", "Ruth", "Sabine", "Samir", "Sanne", "Sara", "Seán", "Siobhán", "Simon", "Sofia", "Sören", "Stefan",
    "Stéphane", "Štěpán", "Sunita", "Tadeusz", "Teresa", "Théo", "Thomas", "Tiago", "Tomáš", "Uwe", "Valentina",
    "Věra", "Victor", "Vikram", "Wanjiru", "Wiktoria", "Xavier", "Yasmin", "Yusuf", "Zofia", "Zoë", "Žiga",
    "慧敏|Huimin", "伟|Wei", "晓雯|Xiaowen", "子涵|Zihan", "健太|Kenta", "美咲|Misaki", "陽子|Yoko", "さくら|Sakura", "지훈|Jihoon",
    "서연|Seoyeon", "민준|Minjun", "أحمد|Ahmad", "ليلى|Layla", "يوسف|Yusuf", "نور|Noor", "Дмитрий|Dmitri", "Ольга|Olga",
    "Наталія|Nataliia", "Ελένη|Eleni", "Γιώργος|Giorgos", "अनिता|Anita", "नोआम|Noam", "נועה|Noa",
];

/// Surnames, in the format of the given names.
#[rustfmt::skip]
pub(crate) const SURNAMES: &[&str] = &[
    "Abbott", "Adeyemi", "Åkesson", "Almeida", "Álvarez", "Andersen", "Araújo", "Arslan", "Bąk", "Baker", "Balogh",
    "Barbosa", "Bauer", "Becker", "Bélanger", "Berg", "Bianchi", "Björklund", "Blanc", "Bondarenko", "Borges",
    "Bouchard", "Brandt", "Çelik", "Chaudhary", "Chevalier", "Christensen", "Clarke", "Conti", "Coşkun", "Costa",
    "Czarnecki", "D'Angelo", "Dąbrowski", "Dahl", "Da Silva", "De la Cruz", "De Vries", "Demir", "Desai", "Dubois",
    "Dvořák", "Echeverría", "Edwards", "Eriksson", "Espinoza", "Farkas", "Fernández", "Ferrari", "Fischer",
    "Fitzgerald", "Fjeld", "Fontaine", "Fournier", "Fuchs", "Gärtner", "García-López", "Gauthier", "Georgiou",
    "Giménez", "Głowacki", "Gonçalves", "González", "Graf", "Grönlund", "Gutiérrez", "Haas", "Hägglund", "Hansen",
    "Harris", "Hernández", "Hofmann", "Højgaard", "Horváth", "Hughes", "Ibáñez", "Iglesias", "Ivanova",
    "Jääskeläinen", "Jankowski", "Jansen", "Jiménez", "Johansson", "Joubert", "Kamiński", "Karlsen", "Kaya", "Kiss",
    "Klein", "Köhler", "Kovács", "Kowalczyk", "Krüger", "Kučera", "Kumar", "Lacroix", "Larsen", "Lefèvre", "Lemaître",
    "Lindqvist", "López", "Lund", "MacDonald", "Machado", "Magnússon", "Mäkinen", "Marchand", "Marek", "Martínez",
    "Mazur", "McAllister", "Meier", "Mendes", "Meyer-Schmidt", "Molnár", "Moreau", "Müller", "Muñoz", "Nagy",
    "Ndiaye", "Nielsen", "Nkosi", "Noël", "Nováková", "Nowak", "Núñez", "O'Brien", "O'Connor", "O'Sullivan",
    "Øvergaard", "Okafor", "Öztürk", "Pająk", "Papadopoulos", "Patel", "Pedersen", "Pereira", "Pérez", "Petit",
    "Petrov", "Pietrzak", "Pospíšil", "Procházka", "Quiñones", "Rasmussen", "Reddy", "Renard", "Reyes", "Ricci",
    "Richter", "Ríos", "Rodrigues", "Romero", "Rossi", "Rousseau", "Rubio", "Sánchez", "Sandström", "Santos", "Şahin",
    "Schäfer", "Schneider", "Schröder", "Sharma", "Sikora", "Šimůnek", "Smith-Jones", "Søndergaard", "Sørensen",
    "Stewart", "Strauß", "Svensson", "Szabó", "Szymański", "Tamm", "Tanaka", "Teixeira", "Thibault", "Thompson",
    "Tóth", "Tremblay", "Urbański", "Van den Berg", "Van Dijk", "Vargas", "Vásquez", "Virtanen", "Vogel", "Wagner",
    "Walczak", "Wallin", "Weiß", "Wiśniewski", "Wójcik", "Wright", "Yıldız", "Zając", "Zapata", "Żak", "Zieliński",
    "Zimmermann", "王|Wang", "李|Li", "張|Zhang", "陈|Chen", "欧阳|Ouyang", "佐藤|Sato", "高橋|Takahashi", "渡辺|Watanabe",
    "김|Kim", "박|Park", "최|Choi", "العلي|Al-Ali", "حداد|Haddad", "منصور|Mansour", "Иванов|Ivanov",
    "Шевченко|Shevchenko", "Οικονόμου|Oikonomou", "शर्मा|Sharma", "כהן|Cohen",
];

/// Departments with the job titles users have there.
pub(crate) const DEPARTMENTS: &[(&str, &[&str])] = &[
    ("Engineering", &["Software Engineer", "Senior Engineer", "Engineering Lead", "Test Engineer"]),
    ("Platform", &["Systems Administrator", "Site Reliability Engineer", "Network Engineer"]),
    ("Security", &["Security Analyst", "Security Engineer", "Incident Responder"]),
    ("Product", &["Product Owner", "Designer", "Technical Writer"]),
    ("Research & Development", &["Researcher", "Laboratory Technician", "Data Scientist"]),
    ("Finance", &["Accountant", "Controller", "Payroll Clerk"]),
    ("Human Resources", &["Recruiter", "Trainer", "HR Partner"]),
    ("Sales", &["Account Executive", "Sales Engineer", "Regional Lead"]),
    ("Customer Care", &["Support Agent", "Support Engineer", "Onboarding Specialist"]),
    ("Legal", &["Counsel", "Paralegal", "Privacy Officer"]),
    ("Operations", &["Dispatcher", "Warehouse Clerk", "Buyer", "Plant Technician"]),
];

/// Countries with their two-letter code, a city and a language.
pub(crate) const COUNTRIES: &[(&str, &str, &str, &str)] = &[
    ("Austria", "AT", "Graz", "de-AT"),
    ("Brazil", "BR", "Curitiba", "pt-BR"),
    ("Canada", "CA", "Montréal", "fr-CA"),
    ("Czechia", "CZ", "Plzeň", "cs-CZ"),
    ("Denmark", "DK", "Ålborg", "da-DK"),
    ("France", "FR", "Besançon", "fr-FR"),
    ("Germany", "DE", "Köln", "de-DE"),
    ("India", "IN", "Pune", "en-IN"),
    ("Ireland", "IE", "Galway", "en-IE"),
    ("Japan", "JP", "大阪", "ja-JP"),
    ("Poland", "PL", "Łódź", "pl-PL"),
    ("Spain", "ES", "A Coruña", "es-ES"),
    ("United Kingdom", "GB", "Leeds", "en-GB"),
    ("United States", "US", "Des Moines", "en-US"),
];

/// The native and the romanised spelling of an entry of the lists above.
pub(crate) fn spellings(entry: &str) -> (&str, &str) {
    entry.split_once('|').unwrap_or((entry, entry))
}

/// `given.surname` in lower-case ASCII; `user` when no letter can be folded.
pub(crate) fn alias(given_name: &str, surname: &str) -> String {
    let parts = [fold(given_name), fold(surname)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "user".to_owned() } else { parts.join(".") }
}

fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for letter in name.to_lowercase().chars() {
        folded.push_str(match letter {
            'a'..='z' | '0'..='9' | '-' => {
                folded.push(letter);
                continue;
            }
            'á' | 'à' | 'â' | 'ã' | 'ą' => "a",
            'ä' | 'æ' => "ae",
            'å' => "aa",
            'ç' | 'č' | 'ć' => "c",
            'ď' | 'đ' => "d",
            'é' | 'è' | 'ê' | 'ë' | 'ę' | 'ě' => "e",
            'ğ' => "g",
            'í' | 'ì' | 'î' | 'ï' | 'ı' => "i",
            'ł' => "l",
            'ñ' | 'ń' | 'ň' => "n",
            'ó' | 'ò' | 'ô' | 'õ' => "o",
            'ö' | 'ø' | 'œ' => "oe",
            'ř' => "r",
            'ś' | 'š' | 'ş' => "s",
            'ß' => "ss",
            'ť' => "t",
            'ú' | 'ù' | 'û' | 'ů' => "u",
            'ü' => "ue",
            'ý' => "y",
            'ż' | 'ź' | 'ž' => "z",
            _ => "",
        });
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_folds_to_ascii_without_losing_letters() {
        for entry in GIVEN_NAMES.iter().chain(SURNAMES) {
            let (_, romanised) = spellings(entry);
            let letters = romanised.chars().filter(|letter| letter.is_alphabetic()).count();
            assert!(fold(romanised).chars().filter(char::is_ascii_alphabetic).count() >= letters, "{entry}");
        }
        assert_eq!(alias("Siobhán", "O'Brien"), "siobhan.obrien");
        assert_eq!(alias("慧敏", "王"), "user");
    }
}
