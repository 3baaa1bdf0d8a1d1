//! Bodies, read with a limit on their size and on every wait.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use reqwest::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::failure::Failure;
use crate::error::Error;

/// Most that is read of an answer with an error status.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Room made at once for a body that says how long it is; more only as it comes.
const FIRST_CAPACITY: usize = 64 << 10;

/// Bodies up to this size may be read in any number.
const SMALL_BYTES: usize = 128 << 10;
/// Room for the larger bodies of one host that are read at the same time.
const LARGE_BYTES: usize = 32 << 20;
/// What one permit of that room stands for.
const PERMIT_BYTES: usize = 64 << 10;

/// The room that the large bodies of one host share: a host that answers all requests at once with as much as it may
/// would fill the memory.
#[derive(Debug)]
pub(super) struct LargeBodies(Semaphore);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Semaphore::new(LARGE_BYTES / PERMIT_BYTES))
    }
}

/// Reads a whole body of at most `limit` bytes. A longer one is given up as soon as that is known; the connection is
/// closed with it. One that turns out to be large waits for its turn; the caller's deadline ends that wait.
pub(super) async fn read(
    mut response: Response,
    what: &'static str,
    limit: usize,
    patience: Duration,
    large: Option<&LargeBodies>,
) -> Result<Bytes, Failure> {
    let announced = announced_length(&response);
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::of(Error::TooLarge { what, limit }));
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default().min(FIRST_CAPACITY));
    let mut room = None;
    while let Some(chunk) = next_chunk(&mut response, patience).await? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::of(Error::TooLarge { what, limit }));
        }
        if let Some(large) = large
            && room.is_none()
            && body.len() + chunk.len() > SMALL_BYTES
        {
            // All that it may become at once: bodies that each have half of the room would wait for each other.
            let most = announced.unwrap_or(limit).min(LARGE_BYTES);
            let permits = u32::try_from(most.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
            // The semaphore is never closed.
            room = large.0.acquire_many(permits).await.ok();
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Reads what an error status came with: as much of it as there is within bounds.
pub(super) async fn read_error(mut response: Response, patience: Duration) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = next_chunk(&mut response, patience).await {
        let room = MAX_ERROR_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    body.freeze()
}

async fn next_chunk(response: &mut Response, patience: Duration) -> Result<Option<Bytes>, Failure> {
    match timeout(patience, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(Failure::of_body(&error)),
        Err(_) => Err(Failure::timed_out()),
    }
}

fn announced_length(response: &Response) -> Option<usize> {
    let length = response
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse::<u64>()
        .ok()?;
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}
