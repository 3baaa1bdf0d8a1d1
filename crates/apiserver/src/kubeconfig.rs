//! The file that tells `kubectl` where the server is and who its user is: [kubeconfig](https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::atomic_file;
use crate::pki::Identity;

/// The URL under which a client on this host reaches a server that listens on the address.
#[must_use]
pub fn server_url(listen: SocketAddr) -> String {
    let address = match listen.ip() {
        address if !address.is_unspecified() => address,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("https://{}", SocketAddr::new(address, listen.port()))
}

/// The content of the file, for one cluster, one user and one context, all of the given name. It is JSON,
/// which is YAML too: nothing in it depends on how a YAML library breaks lines.
#[must_use]
pub fn render(name: &str, server: &str, ca_certificate: &str, user: &Identity) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{
            "name": name,
            "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(ca_certificate),
                // To compress costs more than to send within one host.
                "disable-compression": true,
            },
        }],
        "users": [{
            "name": name,
            "user": {
                "client-certificate-data": STANDARD.encode(&user.certificate),
                "client-key-data": STANDARD.encode(&user.key),
            },
        }],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    format!("{config:#}\n")
}

/// Writes the file for its owner's eyes only.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, content: &str) -> io::Result<()> {
    atomic_file::write(path, content.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_url_is_one_that_a_client_on_this_host_can_reach() {
        for (listen, url) in [
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("0.0.0.0:1", "https://127.0.0.1:1"),
            ("[::]:8443", "https://[::1]:8443"),
            ("10.1.2.3:443", "https://10.1.2.3:443"),
        ] {
            assert_eq!(server_url(listen.parse().unwrap()), url);
        }
    }

    #[test]
    fn the_file_leads_from_its_context_to_server_and_user_and_is_private() {
        let user = Identity {
            certificate: "CERT".into(),
            key: "KEY".into(),
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.kubeconfig");
        write(&path, &render("local", "https://127.0.0.1:1", "CA", &user)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let config: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let named = |list: &str, name: &Value| -> Value {
            let items = config[list].as_array().unwrap();
            items.iter().find(|item| item["name"] == *name).unwrap().clone()
        };
        let context = named("contexts", &config["current-context"])["context"].clone();
        let cluster = named("clusters", &context["cluster"])["cluster"].clone();
        let own = named("users", &context["user"])["user"].clone();
        let decoded =
            |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(cluster["server"], "https://127.0.0.1:1");
        assert_eq!(decoded(&cluster["certificate-authority-data"]), "CA");
        assert_eq!(decoded(&own["client-certificate-data"]), "CERT");
        assert_eq!(decoded(&own["client-key-data"]), "KEY");
    }
}
