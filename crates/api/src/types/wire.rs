//! Forms of single fields that differ from what serde derives.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusDetails};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads `null` as the empty value, as every field of the API allows.
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a value is the empty one, and is left out.
pub(super) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An entry of a list that is a map by the entry's name.
pub(super) trait Named {
    fn name(&self) -> &str;
    fn set_name(&mut self, name: &str);
}

/// A map that is written as a list in key order. On input the last of several entries with one name wins.
pub(super) mod by_name {
    use super::*;

    pub(in super::super) fn serialize<T, S>(
        map: &BTreeMap<String, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error>
    where
        T: Serialize + Named + Clone,
        S: Serializer,
    {
        serializer.collect_seq(map.iter().map(|(name, entry)| Keyed { name, entry }))
    }

    /// The key overrides the entry's own name.
    struct Keyed<'a, T> {
        name: &'a str,
        entry: &'a T,
    }

    impl<T: Serialize + Named + Clone> Serialize for Keyed<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.entry.name() == self.name {
                return self.entry.serialize(serializer);
            }
            let mut entry = self.entry.clone();
            entry.set_name(self.name);
            entry.serialize(serializer)
        }
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
    where
        T: DeserializeOwned + Named,
        D: Deserializer<'de>,
    {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: DeserializeOwned + Named> Visitor<'de> for Entries<T> {
            type Value = BTreeMap<String, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(BTreeMap::new())
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(BTreeMap::new())
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_seq(self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(entry) = entries.next_element::<T>()? {
                    map.insert(entry.name().to_owned(), entry);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_option(Entries(std::marker::PhantomData))
    }
}

/// Bytes as base64 (standard alphabet, padded); `null` when empty.
pub(super) mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if bytes.is_empty() {
            return serializer.serialize_none();
        }
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        STANDARD
            .decode(text.unwrap_or_default())
            .map_err(serde::de::Error::custom)
    }
}

/// A list of byte strings, each as base64.
pub(super) mod base64_list {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Item(#[serde(with = "base64_bytes")] Vec<u8>);

    pub(in super::super) fn serialize<S: Serializer>(
        list: &[Vec<u8>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| Item(bytes.clone())))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let list: Option<Vec<Item>> = Option::deserialize(deserializer)?;
        Ok(list.unwrap_or_default().into_iter().map(|item| item.0).collect())
    }
}

/// A [`Status`] inside another object, without `kind` and `apiVersion`.
pub(super) mod embedded_status {
    use super::*;

    #[derive(Serialize)]
    struct Embedded<'a> {
        metadata: &'a ListMeta,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: &'a Option<StatusDetails>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: &'a Option<i32>,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        status: &Status,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Embedded {
            metadata: &status.metadata,
            status: &status.status,
            message: &status.message,
            reason: &status.reason,
            details: &status.details,
            code: &status.code,
        }
        .serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Status, D::Error> {
        nullable(deserializer)
    }
}
