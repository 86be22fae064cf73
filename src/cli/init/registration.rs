//! The commands that register the application: with the Azure CLI, and with Microsoft Graph PowerShell.

use crate::model::shell_word;

/// The known parts of a registration; commands name the rest in capitals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registration<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) client: Option<&'a str>,
    pub(super) enterprise_app: Option<&'a str>,
    pub(super) secret_file: Option<&'a str>,
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
    /// Both ways, each as one block to paste.
    pub(super) fn commands(self) -> String {
        format!(
            "Register the application in Entra ID, unless that is done. An administrator with the role Privileged Role\n\
             Administrator or Global Administrator runs one of the two blocks.\n\n\
             With the Azure CLI, on this machine:\n\n{}\n\
             Or with Microsoft Graph PowerShell, anywhere:\n\n{}",
            indented(&self.azure_cli()),
            indented(&self.powershell()),
        )
    }

    fn azure_cli(self) -> String {
        let tenant = self.tenant.unwrap_or("TENANT");
        let create =
            "az ad app create --display-name learner-sync --sign-in-audience AzureADMyOrg --query appId -o tsv";
        let client = match self.client {
            Some(client) => format!("# Without a registration: app=$({create})\napp={client}"),
            None => format!("app=$({create})\necho \"Application (client) ID: $app\""),
        };
        let permissions = PERMISSIONS.map(|(_, id)| format!("{id}=Role")).join(" \\\n    ");
        let names = PERMISSIONS.map(|(name, _)| name).join(", ");
        let enterprise_app = self.enterprise_app.unwrap_or("ENTERPRISE_APP");
        let secret_file = shell_word(self.secret_file.unwrap_or("/etc/learner-sync/client-secret"));
        format!(
            "az login --tenant {tenant} --allow-no-subscriptions\n\
             {client}\n\
             az ad sp show --id \"$app\" > /dev/null || az ad sp create --id \"$app\"\n\
             # {names}\n\
             az ad app permission add --id \"$app\" --api {GRAPH} --api-permissions \\\n    {permissions}\n\
             # The consent can fail for a minute after a registration; repeat it then.\n\
             az ad app permission admin-consent --id \"$app\"\n\
             # A secret for one year:\n\
             az ad app credential reset --id \"$app\" --append --display-name learner-sync --years 1 \\\n    \
             --query password -o tsv | sudo install -m 0640 -g learner-sync /dev/stdin {secret_file}\n\
             # Or a certificate, created as `learner-sync guide installing` shows:\n\
             #   az ad app credential reset --id \"$app\" --append --cert @/etc/learner-sync/certificate.pem\n\
             # Assign a small test group to the enterprise application:\n\
             group=$(az ad group show --group 'NAME OF THE GROUP' --query id -o tsv)\n\
             resource=$(az ad sp show --id {enterprise_app} --query id -o tsv)\n\
             role=$(az ad sp show --id \"$resource\" -o tsv \\\n    \
             --query \"appRoles[?isEnabled && contains(allowedMemberTypes, 'User')] | [0].id\")\n\
             az rest --method POST --headers Content-Type=application/json \\\n    \
             --url \"https://graph.microsoft.com/v1.0/servicePrincipals/$resource/appRoleAssignedTo\" \\\n    \
             --body \"{{\\\"principalId\\\": \\\"$group\\\", \\\"resourceId\\\": \\\"$resource\\\", \\\n        \
             \\\"appRoleId\\\": \\\"${{role:-{DEFAULT_ROLE}}}\\\"}}\"\n"
        )
    }

    fn powershell(self) -> String {
        let tenant = self.tenant.unwrap_or("TENANT");
        let create = "New-MgApplication -DisplayName learner-sync -SignInAudience AzureADMyOrg";
        let client = match self.client {
            Some(client) => {
                format!(
                    "# Without a registration: $app = {create}\n$app = Get-MgApplication -Filter \"appId eq '{client}'\""
                )
            }
            None => format!("$app = {create}\n\"Application (client) ID: $($app.AppId)\""),
        };
        let names = PERMISSIONS.map(|(name, _)| format!("'{name}'")).join(", ");
        let enterprise_app = self.enterprise_app.unwrap_or("ENTERPRISE_APP");
        let secret_file = self.secret_file.unwrap_or("/etc/learner-sync/client-secret");
        format!(
            "Connect-MgGraph -TenantId {tenant} -Scopes Application.ReadWrite.All, AppRoleAssignment.ReadWrite.All, Group.Read.All\n\
             {client}\n\
             $client = Get-MgServicePrincipal -Filter \"appId eq '$($app.AppId)'\"\n\
             if (-not $client) {{ $client = New-MgServicePrincipal -AppId $app.AppId }}\n\
             $graph = Get-MgServicePrincipal -Filter \"appId eq '{GRAPH}'\"\n\
             $roles = $graph.AppRoles | Where-Object Value -In {names}\n\
             Update-MgApplication -ApplicationId $app.Id -RequiredResourceAccess @{{\n    \
             ResourceAppId = $graph.AppId\n    \
             ResourceAccess = @($roles | ForEach-Object {{ @{{ Id = $_.Id; Type = 'Role' }} }})\n\
             }}\n\
             # The admin consent:\n\
             foreach ($role in $roles) {{\n    \
             New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $client.Id `\n        \
             -PrincipalId $client.Id -ResourceId $graph.Id -AppRoleId $role.Id\n\
             }}\n\
             # A secret for one year; write it to {secret_file}:\n\
             (Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{{\n    \
             DisplayName = 'learner-sync'; EndDateTime = (Get-Date).AddYears(1)\n\
             }}).SecretText\n\
             # Or a certificate, in the place of those that the registration has:\n\
             #   $certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new('certificate.pem')\n\
             #   Update-MgApplication -ApplicationId $app.Id -KeyCredentials @{{\n\
             #       Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $certificate.RawData\n\
             #   }}\n\
             # Assign a small test group to the enterprise application:\n\
             $resource = Get-MgServicePrincipal -Filter \"id eq '{enterprise_app}' or appId eq '{enterprise_app}'\"\n\
             $group = Get-MgGroup -Filter \"displayName eq 'NAME OF THE GROUP'\"\n\
             $role = $resource.AppRoles | Where-Object {{ $_.IsEnabled -and $_.AllowedMemberTypes -contains 'User' }} |\n    \
             Select-Object -First 1\n\
             $roleId = if ($role) {{ $role.Id }} else {{ '{DEFAULT_ROLE}' }}\n\
             New-MgServicePrincipalAppRoleAssignedTo -ServicePrincipalId $resource.Id `\n    \
             -PrincipalId $group.Id -ResourceId $resource.Id -AppRoleId $roleId\n"
        )
    }
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
    };

    #[test]
    fn commands_name_every_permission_and_value() {
        for registration in [Registration::default(), KNOWN] {
            let (azure_cli, powershell) = (registration.azure_cli(), registration.powershell());
            for (name, id) in PERMISSIONS {
                assert!(azure_cli.contains(name) && azure_cli.contains(id) && powershell.contains(name), "{name}");
            }
            let Registration { tenant, client, enterprise_app, secret_file: _ } = registration;
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
