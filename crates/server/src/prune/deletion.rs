//! Deletes images that no stream points at, under the protection of [marks](super::guard).

use std::collections::HashSet;
use std::time::Duration;

use imagestream_api::types::Status;
use imagestream_apiserver::metadata;
use imagestream_apiserver::storage::failed;
use imagestream_store::{Precondition, StoreError, Write};
use jiff::Timestamp;

use super::marks::{self, Mark, Marked};
use super::plan::{self, Options};
use super::read::{self, KnownImages, Streams};
use crate::context::Context;

/// Images that are marked at the same time.
const ROUND: usize = 5000;
/// Images that are deleted at once, if the store takes so many.
const BATCH: usize = 50;
/// Time for other servers to learn of marks before these end. One that did not is only slower for a while.
const NOTICE: Duration = Duration::from_millis(500);

/// The deletion of images.
pub(super) struct Deletion<'a> {
    pub(super) context: &'a Context,
    pub(super) known: &'a mut KnownImages,
    /// What streams pointed at when they were read.
    pub(super) referenced: HashSet<String>,
    /// When they were read.
    pub(super) streams: u64,
    pub(super) options: &'a Options,
    pub(super) now: Timestamp,
    /// Which were deleted.
    pub(super) deleted: Vec<String>,
    pub(super) failures: Vec<String>,
}

impl Deletion<'_> {
    /// Deletes those of the candidates that no stream points at once they are marked.
    ///
    /// # Errors
    /// Those of the store. What was deleted until then is noted.
    pub(super) async fn run(&mut self, mut candidates: Vec<String>) -> Result<(), Box<Status>> {
        // A list goes before its members: what exists is whole.
        candidates.sort_by_cached_key(|name| self.members(name).is_empty());
        for round in candidates.chunks(ROUND) {
            Box::pin(self.round(round)).await?;
        }
        Ok(())
    }

    async fn round(&mut self, candidates: &[String]) -> Result<(), Box<Status>> {
        let context = self.context;
        let marked = marks::mark(&*context.store, candidates, Timestamp::now())
            .await
            .map_err(failed)?;
        let deleted = self.delete_unreferenced(&marked).await;
        tokio::time::sleep(NOTICE).await;
        let ended = marks::end(&*context.store, candidates).await.map_err(failed);
        deleted.and(ended)
    }

    async fn delete_unreferenced(&mut self, marked: &[Marked]) -> Result<(), Box<Status>> {
        let context = self.context;
        // Every stream and every list that was written before is seen now, and whoever writes one from now on removes
        // marks.
        context.images.ready().await?;
        context.streams.ready().await?;
        let streams = Streams::read(context).await?;
        for stream in streams.since(self.streams) {
            plan::add_references(&stream?, &[], &mut self.referenced);
        }
        self.streams = streams.revision;
        drop(streams);
        // What is new or has changed stays this time.
        let (changed, revision) = context.images.changed_since(self.known.revision);
        for name in changed {
            if let Some((name, facts)) = read::image(context, &name).await? {
                self.known.images.insert(name.clone(), facts);
                self.referenced.insert(name);
            }
        }
        self.known.revision = revision;
        let unreferenced = plan::images(&self.known.images, &self.referenced, self.options, self.now);
        let unreferenced: HashSet<&str> = unreferenced.iter().map(String::as_str).collect();
        let mut left: Vec<&Marked> = Vec::new();
        for marked in marked {
            if unreferenced.contains(marked.image.as_str()) {
                left.push(marked);
            }
        }
        let size = BATCH.min(context.store.limits().operations / 2).max(1);
        for batch in left.chunks(size) {
            self.delete_batch(batch).await?;
        }
        Ok(())
    }

    /// Deletes images at once if all of them can be deleted, else each by itself.
    async fn delete_batch(&mut self, batch: &[&Marked]) -> Result<(), Box<Status>> {
        let (mut conditions, mut writes) = (Vec::new(), Vec::new());
        for marked in batch {
            // Of a list of this batch that stays it is a member.
            if !self.may_go(marked) {
                continue;
            }
            match self.deletion(marked).await? {
                Some((of_image, of_deletion)) => {
                    conditions.extend(of_image);
                    writes.extend(of_deletion);
                }
                None => self.spare(&marked.image),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        match self.context.store.commit(&conditions, &writes).await {
            Ok(_) => {
                let gone = batch.iter().filter(|marked| self.may_go(marked));
                let gone: Vec<String> = gone.map(|marked| marked.image.clone()).collect();
                self.deleted.extend(gone);
                Ok(())
            }
            Err(StoreError::Conflict { .. } | StoreError::TooLarge(_)) if batch.len() > 1 => {
                for marked in batch {
                    Box::pin(self.delete_batch(&[marked])).await?;
                }
                Ok(())
            }
            Err(StoreError::Conflict { .. }) => {
                // Somebody began to point at it, or changed it.
                batch.iter().for_each(|marked| self.spare(&marked.image));
                Ok(())
            }
            Err(error) => {
                for marked in batch {
                    self.failures.push(format!("image {}: {error}", marked.image));
                    self.spare(&marked.image);
                }
                Ok(())
            }
        }
    }

    /// What deletes an image unless somebody began to point at it or changed it since: one that has finalizers is told
    /// that it is to go. Nothing if it is gone.
    async fn deletion(
        &self,
        marked: &Marked,
    ) -> Result<Option<([Precondition; 2], [Write; 2])>, Box<Status>> {
        let name = &marked.image;
        let Some(image) = self.known.images.get(name) else {
            return Ok(None);
        };
        let of_image = self.context.images.key("", name);
        let conditions = [
            Precondition::ModRevision(marks::key(name), marked.revision),
            Precondition::ModRevision(of_image.clone(), image.revision),
        ];
        if !image.is_held {
            let remembered = Mark::Deleted(Timestamp::now()).write(name).map_err(failed)?;
            return Ok(Some((conditions, [Write::Delete(of_image), remembered])));
        }
        let Some(mut stored) = self.context.images.get("", name).await? else {
            return Ok(None);
        };
        metadata::mark_deleted(&mut stored.object, self.now);
        // It is there, and its mark has done its work.
        let told = self.context.images.put(&stored.object)?;
        Ok(Some((conditions, [told, Write::Delete(marks::key(name))])))
    }

    /// Whether nothing was learnt since that lets an image stay.
    fn may_go(&self, marked: &Marked) -> bool {
        !self.referenced.contains(&marked.image)
    }

    /// Lets an image stay, and the members that it has.
    fn spare(&mut self, name: &str) {
        let members = self.members(name).to_vec();
        self.referenced.extend(members);
        self.referenced.insert(name.to_owned());
    }

    fn members(&self, name: &str) -> &[String] {
        self.known
            .images
            .get(name)
            .map_or(&[], |image| image.members.as_slice())
    }
}
