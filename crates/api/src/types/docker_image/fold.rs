//! Reads a configuration document whose keys may have any case into the names of version 1.0.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::KEYS;

/// The keys of a container's configuration.
const CONFIG_KEYS: [&str; 27] = [
    "Hostname",
    "Domainname",
    "User",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "Cpuset",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "PortSpecs",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Env",
    "Cmd",
    "Dns",
    "Image",
    "Volumes",
    "VolumesFrom",
    "WorkingDir",
    "Entrypoint",
    "NetworkDisabled",
    "SecurityOpts",
    "OnBuild",
    "Labels",
];

/// The known keys of the document under their names of version 1.0; everything else is skipped unread.
/// Of several spellings of one key the last wins.
pub(super) fn read(document: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let value = Object::Image.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(fields) => Ok(fields),
        // `null` is the empty configuration.
        _ => Ok(Map::new()),
    }
}

#[derive(Clone, Copy)]
enum Object {
    Image,
    Config,
}

impl Object {
    fn known_key(self, key: &str) -> Option<&'static str> {
        match self {
            Self::Image => KEYS
                .iter()
                .find(|(_, old)| old.eq_ignore_ascii_case(key))
                .map(|(new, _)| *new),
            Self::Config => CONFIG_KEYS
                .iter()
                .find(|known| known.eq_ignore_ascii_case(key))
                .copied(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Some(known) = self.known_key(&key) else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = match known {
                "Config" | "ContainerConfig" => entries.next_value_seed(Object::Config)?,
                _ => entries.next_value()?,
            };
            fields.insert(known.to_owned(), value);
        }
        Ok(Value::Object(fields))
    }
}
