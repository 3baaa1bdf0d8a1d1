//! One entry of a file of registry credentials, as `docker login` and `podman login`
//! [write it](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md).

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::json::null_is_default;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is filed under one key. Not `Debug`: it is secret.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Entry {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
    password: String,
    #[serde(default, deserialize_with = "null_is_default")]
    auth: String,
    #[serde(default, rename = "identitytoken", deserialize_with = "null_is_default")]
    pub(crate) identity_token: String,
}

/// The `auth` is not base64 of `user:password`.
#[derive(Debug)]
pub(crate) struct EntryError;

impl Entry {
    /// User name and password, unless both are empty. `auth` wins over the fields beside it.
    pub(crate) fn user_and_password(&self) -> Result<Option<(String, String)>, EntryError> {
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let decoded = BASE64.decode(self.auth.trim()).map_err(|_| EntryError)?;
            let decoded = String::from_utf8(decoded).map_err(|_| EntryError)?;
            let (username, password) = decoded.split_once(':').ok_or(EntryError)?;
            // Old Docker clients padded the password with zero bytes.
            (username.to_owned(), password.trim_matches('\0').to_owned())
        };
        Ok(Some((username, password))
            .filter(|(username, password)| !(username.is_empty() && password.is_empty())))
    }
}

/// Keys and their entries in the order of the document. Of a repeated key the last entry counts, at the first place.
#[derive(Default)]
pub(crate) struct Entries(pub(crate) Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("registry credentials by host")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut entries: Vec<(String, Entry)> = Vec::new();
        while let Some((key, entry)) = map.next_entry::<String, Option<Entry>>()? {
            let entry = entry.unwrap_or_default();
            match places.get(&key) {
                Some(place) => entries[*place].1 = entry,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, entry));
                }
            }
        }
        Ok(Entries(entries))
    }
}
