//! Lists: which state they show, which objects are in it, and where a page ends.
//!
//! The rules are those of [resource versions in lists][1].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list

use imagestream_store::{KeyValue, StoreError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::{ContinueToken, Encoded, Objects, failed, select};
use crate::endpoint::{Object, ObjectList};
use crate::errors;
use crate::options::{ListOptions, ResourceVersionMatch, resource_version};

/// Keys that are read from the store at once.
const CHUNK: usize = 500;

const TOO_OLD_TO_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. \
    You can start a new list without the continue parameter, or use the continue token in this response to retrieve \
    the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
    were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Objects {
    /// The objects of a namespace (all: empty) that the options ask for, as they are shown.
    ///
    /// # Errors
    /// 400 for a field that can't be selected or a malformed token, 410 for a state that is gone, 504 for one that
    /// has not happened, and those of the store.
    pub async fn list(&self, namespace: &str, options: &ListOptions) -> Result<ObjectList, Box<Status>> {
        self.check_fields(options)?;
        let asked = resource_version(&options.resource_version)?;
        if !options.continue_token.is_empty() {
            let token = ContinueToken::decode(&options.continue_token)?;
            if asked > 0 {
                let message = "specifying resource version is not allowed when using continue";
                return Err(errors::bad_request(message).into());
            }
            return self.continued(namespace, options, &token).await;
        }
        let exact = match options.resource_version_match {
            Some(how) => how == ResourceVersionMatch::Exact,
            // Pages have always been of exactly the state that was asked for.
            None => options.limit.is_some() && asked > 0,
        };
        if asked > 0 {
            self.check_reached(asked).await?;
        }
        if exact {
            return self.of_revision(namespace, options, Some(asked), None).await;
        }
        if options.resource_version != "0" {
            self.ready().await?;
        }
        self.newest(namespace, options).await
    }

    /// Refuses a selector by fields that the objects don't have.
    pub(crate) fn check_fields(&self, options: &ListOptions) -> Result<(), Box<Status>> {
        options
            .field_selector
            .restrict_to(self.form.selectable())
            .map_err(|error| errors::bad_request(error.to_string()).into())
    }

    /// Refuses a revision that has not happened.
    pub(crate) async fn check_reached(&self, asked: u64) -> Result<(), Box<Status>> {
        let current = self.store.current_revision().await.map_err(failed)?;
        if asked > current {
            return Err(errors::too_large_resource_version(asked, current).into());
        }
        Ok(())
    }

    /// A list of what memory shows.
    async fn newest(&self, namespace: &str, options: &ListOptions) -> Result<ObjectList, Box<Status>> {
        let scope = self.scope(namespace);
        let snapshot = self.cache.list(&scope);
        let limit = page_size(options);
        let is_whole = options.label_selector.is_empty() && options.field_selector.is_empty();
        if !self.holds_values {
            return self
                .of_revision(namespace, options, Some(snapshot.revision), None)
                .await;
        }
        let mut list = ObjectList {
            items: Vec::with_capacity(limit.min(snapshot.entries.len())),
            revision: Some(snapshot.revision),
            ..ObjectList::default()
        };
        for (position, entry) in snapshot.entries.iter().enumerate() {
            let selected = is_whole
                || self.is_selected(&entry.metadata, &options.label_selector, &options.field_selector);
            if !selected {
                continue;
            }
            list.items.push(Object::Encoded(self.of_entry(entry, true)?));
            if list.items.len() == limit {
                let rest = snapshot.entries.len() - position - 1;
                if rest > 0 {
                    list.continue_token = token(&entry.key, &scope, snapshot.revision);
                    list.remaining = is_whole.then_some(rest.try_into().unwrap_or(i64::MAX));
                }
                break;
            }
        }
        Ok(list)
    }

    async fn continued(
        &self,
        namespace: &str,
        options: &ListOptions,
        token: &ContinueToken,
    ) -> Result<ObjectList, Box<Status>> {
        let scope = self.scope(namespace);
        let after = format!("{scope}{}", token.last());
        let revision = u64::try_from(token.revision)
            .ok()
            .filter(|revision| *revision > 0);
        match self.of_revision(namespace, options, revision, Some(after)).await {
            Err(status) if status.reason.as_deref() == Some("Expired") => {
                let mut status = *status;
                status.message = Some(TOO_OLD_TO_CONTINUE.into());
                status.metadata.continue_ = Some(ContinueToken::after(token.last(), -1).encode());
                Err(status.into())
            }
            other => other,
        }
    }

    /// A list of what the store held at a revision (none: now), after a key.
    async fn of_revision(
        &self,
        namespace: &str,
        options: &ListOptions,
        revision: Option<u64>,
        mut after: Option<String>,
    ) -> Result<ObjectList, Box<Status>> {
        let scope = self.scope(namespace);
        let limit = page_size(options);
        let is_whole = options.label_selector.is_empty() && options.field_selector.is_empty();
        let chunk = if limit == usize::MAX || !is_whole {
            CHUNK
        } else {
            limit.min(CHUNK)
        };
        let mut at = revision;
        let mut list = ObjectList::default();
        loop {
            let page = self
                .store
                .list(&scope, after.as_deref(), chunk, at)
                .await
                .map_err(|error| match error {
                    StoreError::FutureRevision => {
                        errors::too_large_resource_version(at.unwrap_or_default(), 0).into()
                    }
                    error => failed(error),
                })?;
            at = Some(page.revision);
            list.revision = Some(page.revision);
            let count = page.items.len();
            for (position, item) in page.items.iter().enumerate() {
                if is_whole || self.chooses(item, options) {
                    list.items.push(Object::Encoded(self.shown_item(item)?));
                }
                if list.items.len() == limit && (page.more || position + 1 < count) {
                    list.continue_token = token(&item.key, &scope, page.revision);
                    if is_whole {
                        let unread = count - position - 1 + usize::from(page.more);
                        let rest = self.count_after(&scope, &item.key, page.revision).max(unread);
                        list.remaining = Some(rest.try_into().unwrap_or(i64::MAX));
                    }
                    return Ok(list);
                }
            }
            after = page.items.last().map(|item| item.key.clone());
            if !page.more || after.is_none() {
                return Ok(list);
            }
        }
    }

    /// How many objects follow a key at a revision, as far as memory can tell: it does not know those that are gone.
    /// Clients are [told][1] not to rely on the number.
    ///
    /// [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/list-meta/
    fn count_after(&self, scope: &str, key: &str, revision: u64) -> usize {
        let entries = self.cache.list(scope).entries;
        let following = entries.iter().rev().take_while(|entry| &*entry.key > key);
        following
            .filter(|entry| entry.create_revision <= revision)
            .count()
    }

    fn chooses(&self, item: &KeyValue, options: &ListOptions) -> bool {
        let selected = select(&*self.form, &item.key, &item.value);
        self.is_selected(&selected, &options.label_selector, &options.field_selector)
    }

    fn shown_item(&self, item: &KeyValue) -> Result<Encoded, Box<Status>> {
        self.of_item(item, true)
    }
}

fn page_size(options: &ListOptions) -> usize {
    options
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn token(key: &str, scope: &str, revision: u64) -> String {
    let last = key.strip_prefix(scope).unwrap_or(key);
    ContinueToken::after(last, i64::try_from(revision).unwrap_or(i64::MAX)).encode()
}
