//! The commands that register the application: with the Azure CLI, and with Microsoft Graph PowerShell.

use crate::cli::output::{print, print_sentences};
use crate::model::shell_word;

/// The known parts of a registration; commands name the rest in capitals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registration<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) client: Option<&'a str>,
    pub(super) enterprise_app: Option<&'a str>,
    pub(super) secret_file: Option<&'a str>,
    pub(super) certificate: Option<&'a str>,
}

/// The application permissions of Microsoft Graph, and the ids of their app roles.
const PERMISSIONS: [(&str, &str); 3] = [
    ("Application.Read.All", "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"),
    ("User.Read.All", "df021288-bdef-4463-88db-98f22de89214"),
    ("GroupMember.Read.All", "98830695-27a2-44f7-8c18-0c3ebc9698f6"),
];
/// The application id of Microsoft Graph in every tenant.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
/// The app role of an application without roles of its own.
const DEFAULT_ROLE: &str = "00000000-0000-0000-0000-000000000000";

impl Registration<'_> {
    /// Prints both ways, each as one block to paste.
    pub(super) fn print(self) -> std::io::Result<()> {
        print_sentences(
            "Register the application in Entra ID, unless that is done. An administrator with the role Privileged Role \
             Administrator or Global Administrator runs one of the two blocks.\n\n\
             With the Azure CLI, on this machine:\n",
        )?;
        print(&indented(&self.azure_cli()))?;
        print("Or with Microsoft Graph PowerShell, anywhere:\n")?;
        print(indented(&self.powershell()).trim_end())
    }

    fn secret_file(self) -> String {
        shell_word(self.secret_file.unwrap_or("/etc/learner-sync/client-secret"))
    }

    fn azure_cli(self) -> String {
        let tenant = self.tenant.unwrap_or("TENANT");
        let create = [
            "app=$(az ad app create --display-name learner-sync \\",
            "    --sign-in-audience AzureADMyOrg --query appId -o tsv)",
        ];
        let client = match self.client {
            Some(client) => instead(&create, &format!("app={client}")),
            None => format!("{}\necho \"Application (client) ID: $app\"", create.join("\n")),
        };
        let permissions = PERMISSIONS.map(|(_, id)| format!("{id}=Role")).join(" \\\n    ");
        let names = PERMISSIONS.map(|(name, _)| name).join(", ");
        let enterprise_app = self.enterprise_app.unwrap_or("ENTERPRISE_APP");
        let secret_file = self.secret_file();
        let certificate = shell_word(self.certificate.unwrap_or("/etc/learner-sync/certificate.pem"));
        format!(
            "az login --allow-no-subscriptions --tenant \\\n    {tenant}\n\
             {client}\n\
             az ad sp show --id \"$app\" > /dev/null || az ad sp create --id \"$app\"\n\
             # {names}\n\
             az ad app permission add --id \"$app\" \\\n    --api {GRAPH} --api-permissions \\\n    {permissions}\n\
             # The consent can fail for a minute after a registration; repeat it then.\n\
             az ad app permission admin-consent --id \"$app\"\n\
             # A secret for one year:\n\
             az ad app credential reset --id \"$app\" --append --years 1 \\\n    \
             --display-name learner-sync --query password -o tsv |\n    \
             sudo install -m 0640 -g learner-sync /dev/stdin \\\n        {secret_file}\n\
             # Or a certificate, created as `learner-sync guide installing` shows:\n\
             #   az ad app credential reset --id \"$app\" --append \\\n\
             #       --cert @{certificate}\n\
             # Assign a small test group to the enterprise application:\n\
             group=$(az ad group show --group 'NAME OF THE GROUP' --query id -o tsv)\n\
             resource=$(az ad sp show --query id -o tsv \\\n    --id {enterprise_app})\n\
             role=$(az ad sp show --id \"$resource\" -o tsv --query \"appRoles[? \\\n    \
             isEnabled && contains(allowedMemberTypes, 'User')] | [0].id\")\n\
             graph=https://graph.microsoft.com/v1.0\n\
             az rest --method POST --headers Content-Type=application/json \\\n    \
             --url \"$graph/servicePrincipals/$resource/appRoleAssignedTo\" --body \\\n    \
             \"{{\\\"principalId\\\": \\\"$group\\\", \\\"resourceId\\\": \\\"$resource\\\", \\\n    \
             \\\"appRoleId\\\": \\\"${{role:-{DEFAULT_ROLE}}}\\\"}}\"\n"
        )
    }

    fn powershell(self) -> String {
        let tenant = self.tenant.unwrap_or("TENANT");
        let create = ["$app = New-MgApplication -DisplayName learner-sync `", "    -SignInAudience AzureADMyOrg"];
        let client = match self.client {
            Some(client) => {
                let get = "$app = Get-MgApplication -Filter \"appId eq '$id'\"";
                format!("$id = '{client}'\n{}", instead(&create, get))
            }
            None => format!("{}\n\"Application (client) ID: $($app.AppId)\"", create.join("\n")),
        };
        let names = PERMISSIONS.map(|(name, _)| format!("'{name}'")).join(", ");
        let enterprise_app = self.enterprise_app.unwrap_or("ENTERPRISE_APP");
        let secret_file = self.secret_file();
        format!(
            "Connect-MgGraph -TenantId {tenant} -Scopes `\n    \
             Application.ReadWrite.All, AppRoleAssignment.ReadWrite.All,\n    Group.Read.All\n\
             {client}\n\
             $client = Get-MgServicePrincipal -Filter \"appId eq '$($app.AppId)'\"\n\
             if (-not $client) {{ $client = New-MgServicePrincipal -AppId $app.AppId }}\n\
             $id = '{GRAPH}'\n\
             $graph = Get-MgServicePrincipal -Filter \"appId eq '$id'\"\n\
             $roles = $graph.AppRoles | Where-Object Value -In `\n    {names}\n\
             Update-MgApplication -ApplicationId $app.Id -RequiredResourceAccess @{{\n    \
             ResourceAppId = $graph.AppId\n    \
             ResourceAccess = @($roles | ForEach-Object {{\n        \
             @{{ Id = $_.Id; Type = 'Role' }} }})\n\
             }}\n\
             # The admin consent:\n\
             foreach ($role in $roles) {{\n    \
             New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $client.Id `\n        \
             -PrincipalId $client.Id -ResourceId $graph.Id -AppRoleId $role.Id\n\
             }}\n\
             # A secret for one year, for the file\n\
             # {secret_file}:\n\
             (Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{{\n    \
             DisplayName = 'learner-sync'; EndDateTime = (Get-Date).AddYears(1)\n\
             }}).SecretText\n\
             # Or a certificate, in the place of those that the registration has:\n\
             #   $type = [Security.Cryptography.X509Certificates.X509Certificate2]\n\
             #   $certificate = $type::new('certificate.pem')\n\
             #   Update-MgApplication -ApplicationId $app.Id -KeyCredentials @{{\n\
             #       Type = 'AsymmetricX509Cert'; Usage = 'Verify'\n\
             #       Key = $certificate.RawData\n\
             #   }}\n\
             # Assign a small test group to the enterprise application:\n\
             $id = '{enterprise_app}'\n\
             $resource = Get-MgServicePrincipal -Filter \"id eq '$id' or appId eq '$id'\"\n\
             $group = Get-MgGroup -Filter \"displayName eq 'NAME OF THE GROUP'\"\n\
             $role = $resource.AppRoles | Where-Object {{\n    \
             $_.IsEnabled -and $_.AllowedMemberTypes -contains 'User' }} |\n    \
             Select-Object -First 1\n\
             $roleId = '{DEFAULT_ROLE}'\n\
             if ($role) {{ $roleId = $role.Id }}\n\
             New-MgServicePrincipalAppRoleAssignedTo -ServicePrincipalId $resource.Id `\n    \
             -PrincipalId $group.Id -ResourceId $resource.Id -AppRoleId $roleId\n"
        )
    }
}

/// `line`, below the commands that an administrator without a registration uses in its place.
fn instead(commands: &[&str], line: &str) -> String {
    let commands: String = commands.iter().map(|command| format!("#   {command}\n")).collect();
    format!("# Without a registration, replace the next line by this:\n{commands}{line}")
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    const KNOWN: Registration<'_> = Registration {
        tenant: Some("contoso.onmicrosoft.com"),
        client: Some("0a1b2c3d-0000-4000-8000-00000000abcd"),
        enterprise_app: Some("11111111-2222-4333-8444-555555555555"),
        secret_file: Some("/etc/learner sync/it's secret"),
        certificate: Some("/etc/learner-sync/contoso-certificate.pem"),
    };

    #[test]
    fn the_lines_fit_a_terminal_of_80_columns() {
        let secret_file = Some("/etc/learner-sync/harbourworks-client-secret");
        let tenant = Some("6f1c2a52-91d4-4b0e-8a37-d5e0c4b7f913");
        for registration in [Registration::default(), Registration { tenant, secret_file, ..KNOWN }] {
            for block in [registration.azure_cli(), registration.powershell()] {
                let long: Vec<String> =
                    indented(&block).lines().filter(|line| line.len() > 80).map(str::to_owned).collect();
                assert!(long.is_empty(), "{long:#?}");
            }
        }
    }

    #[test]
    fn commands_name_every_permission_and_value() {
        for registration in [Registration::default(), KNOWN] {
            let (azure_cli, powershell) = (registration.azure_cli(), registration.powershell());
            for (name, id) in PERMISSIONS {
                assert!(azure_cli.contains(name) && azure_cli.contains(id) && powershell.contains(name), "{name}");
            }
            let Registration { tenant, client, enterprise_app, secret_file: _, certificate } = registration;
            assert!(certificate.is_none_or(|file| azure_cli.contains(file)));
            for known in [tenant, client, enterprise_app].into_iter().flatten() {
                assert!(azure_cli.contains(known) && powershell.contains(known), "{known}");
            }
        }
    }

    #[test]
    fn the_block_for_the_azure_cli_is_a_script_that_sends_json() {
        // A shell function in the place of the program: it answers every question for an id, and shows each request.
        let azure = "az() { case \"$*\" in *appRoles*) ;; *--query*) echo answer ;; *--body*) echo \"${@: -1}\" >&3 ;; esac; }\n\
                     sudo() { cat > /dev/null; echo \"${@: -1}\" >&3; }\n";
        for registration in [Registration::default(), KNOWN] {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", "exec 3>&1; eval \"$(cat)\" > /dev/null"]);
            let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let script = format!("{azure}{}", registration.azure_cli());
            shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            let output = shell.wait_with_output().unwrap();
            assert!(output.status.success(), "{script}");
            let printed = String::from_utf8(output.stdout).unwrap();
            let (file, body) = printed.split_once('\n').unwrap();
            assert_eq!(file, registration.secret_file.unwrap_or("/etc/learner-sync/client-secret"));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let expected =
                serde_json::json!({ "principalId": "answer", "resourceId": "answer", "appRoleId": DEFAULT_ROLE });
            assert_eq!(body, expected);
        }
    }
}
