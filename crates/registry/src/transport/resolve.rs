//! Which addresses a registry may send this client to.
//!
//! A redirect or a token service is named by the registry, not by the user. A registry on the internet that names
//! an address of the network this client runs in would have it ask there in the registry's interest
//! ([server-side request forgery](https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html)).
//! The check is made on the addresses that are connected to, so a name that changes its address gains nothing.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// From where an address can be reached, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From anywhere.
    Public,
    /// From this machine or its network only.
    Private,
    /// From the neighbours on the wire only; cloud providers serve machine credentials there.
    LinkLocal,
    /// From nowhere: multicast and reserved addresses.
    Nowhere,
}

impl Reach {
    /// Whether a place at an address of this reach may send the client to one of the `other`.
    pub(super) fn may_send_to(self, other: Self) -> bool {
        match other {
            Self::Public => true,
            Self::Private => self != Self::Public && self != Self::Nowhere,
            Self::LinkLocal => self == Self::LinkLocal,
            Self::Nowhere => false,
        }
    }
}

/// The reach of an address, by the [IANA special-purpose registries][v4].
///
/// [v4]: https://www.iana.org/assignments/iana-ipv4-special-registry/iana-ipv4-special-registry.xhtml
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, ..] = address.octets();
    match (a, b) {
        (169, 254) => Reach::LinkLocal,
        (0 | 10 | 127, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) | (198, 18..=19) => Reach::Private,
        (224..=255, _) => Reach::Nowhere,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Private,
        // IPv4 in other clothes: mapped and compatible, translated (NAT64), 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => Reach::Private,
        // The address at which a cloud provider serves machine credentials over IPv6.
        [0xfd00, 0x0ec2, ..] => Reach::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Private,
        [0xfe80..=0xfebf, ..] => Reach::LinkLocal,
        [0xff00..=0xffff, ..] => Reach::Nowhere,
        _ => Reach::Public,
    }
}

/// The address in a URL that needs no resolving.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// The names of the proxies and the addresses they turned out to have: through a proxy, the address connected to says
/// nothing about the registry.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    names: HashSet<String>,
    addresses: Mutex<HashSet<IpAddr>>,
}

impl Proxies {
    /// The proxies that the values of environment variables name.
    pub(super) fn named(values: impl Iterator<Item = String>) -> Self {
        let proxies = Self::default();
        let mut names = HashSet::new();
        for value in values {
            let parsed = Url::parse(&value).ok().filter(Url::has_host);
            let Some(url) = parsed.or_else(|| Url::parse(&format!("http://{value}")).ok()) else {
                continue;
            };
            match literal_address(&url) {
                Some(address) => proxies.found(address),
                None => names.extend(url.host_str().map(str::to_ascii_lowercase)),
            }
        }
        Self { names, ..proxies }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }

    pub(super) fn is_address(&self, address: IpAddr) -> bool {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&address)
    }

    fn found(&self, address: IpAddr) {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address);
    }
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("lookup {0}: no such host")]
pub(super) struct LookupError(String);

/// A place that whoever named it may not send this client to.
#[derive(Debug, thiserror::Error)]
#[error(
    "refusing to connect to {0}: its address is not a public one, and it was named by a registry that has no such address itself"
)]
pub(super) struct RefusedAddress(pub(super) String);

/// Resolves names by the system, leaving out addresses that are out of bounds.
pub(super) struct GuardedResolver {
    /// The reach of the registry that named the place; `None` for what the user named.
    pub(super) sent_by: Option<Reach>,
    pub(super) proxies: Arc<Proxies>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (sent_by, proxies) = (self.sent_by, self.proxies.clone());
        Box::pin(async move {
            let name = name.as_str();
            let found = tokio::net::lookup_host((name, 0)).await;
            let found: Vec<SocketAddr> = found.map_err(|_| LookupError(name.to_owned()))?.collect();
            if found.is_empty() {
                return Err(LookupError(name.to_owned()).into());
            }
            if proxies.is_name(name) {
                found.iter().for_each(|address| proxies.found(address.ip()));
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| sent_by.is_none_or(|from| from.may_send_to(reach(address.ip()))))
                .collect();
            if allowed.is_empty() {
                return Err(RefusedAddress(name.to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_reach() {
        let table = [
            ("8.8.8.8", Reach::Public),
            ("172.15.0.1", Reach::Public),
            ("172.32.0.1", Reach::Public),
            ("100.63.0.1", Reach::Public),
            ("2001:4860:4860::8888", Reach::Public),
            ("::ffff:8.8.8.8", Reach::Public),
            ("0.0.0.0", Reach::Private),
            ("10.1.2.3", Reach::Private),
            ("127.0.0.1", Reach::Private),
            ("127.9.9.9", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("172.31.255.255", Reach::Private),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("::", Reach::Private),
            ("::1", Reach::Private),
            ("fc00::1", Reach::Private),
            ("fdff::1", Reach::Private),
            ("::ffff:127.0.0.1", Reach::Private),
            ("::10.0.0.1", Reach::Private),
            ("64:ff9b::a00:1", Reach::Private),
            ("2002:c0a8:101::1", Reach::Private),
            ("169.254.169.254", Reach::LinkLocal),
            ("::ffff:169.254.169.254", Reach::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Reach::LinkLocal),
            ("fe80::1", Reach::LinkLocal),
            ("fd00:ec2::254", Reach::LinkLocal),
            ("224.0.0.1", Reach::Nowhere),
            ("255.255.255.255", Reach::Nowhere),
            ("ff02::1", Reach::Nowhere),
        ];
        for (address, expected) in table {
            assert_eq!(reach(address.parse().expect(address)), expected, "{address}");
        }
    }

    #[test]
    fn nobody_is_sent_to_a_network_narrower_than_where_the_registry_is() {
        use Reach::{LinkLocal, Nowhere, Private, Public};
        let allowed = [
            (Public, vec![Public]),
            (Private, vec![Public, Private]),
            (LinkLocal, vec![Public, Private, LinkLocal]),
            (Nowhere, vec![Public]),
        ];
        for (from, targets) in allowed {
            for to in [Public, Private, LinkLocal, Nowhere] {
                assert_eq!(from.may_send_to(to), targets.contains(&to), "{from:?} to {to:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_with_a_local_address_is_refused_to_a_public_registry_only() {
        for (sent_by, resolves) in [
            (Some(Reach::Public), false),
            (Some(Reach::Private), true),
            (None, true),
        ] {
            let resolver = GuardedResolver {
                sent_by,
                proxies: Arc::default(),
            };
            let outcome = resolver.resolve("localhost".parse().expect("name")).await;
            assert_eq!(outcome.is_ok(), resolves, "{sent_by:?}");
            if let Err(error) = outcome {
                assert!(error.is::<RefusedAddress>(), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_proxy_is_always_reachable_and_recognised_by_its_address() {
        let proxies = ["http://localhost:3128".to_owned(), "10.0.0.9:8080".to_owned()];
        let proxies = Arc::new(Proxies::named(proxies.into_iter()));
        let resolver = GuardedResolver {
            sent_by: Some(Reach::Public),
            proxies: proxies.clone(),
        };
        assert!(resolver.resolve("localhost".parse().expect("name")).await.is_ok());
        assert!(proxies.is_address([127, 0, 0, 1].into()) || proxies.is_address(Ipv6Addr::LOCALHOST.into()));
        assert!(proxies.is_address([10, 0, 0, 9].into()));
        assert!(!proxies.is_address([10, 0, 0, 8].into()));
    }
}
