//! Bodies, read with a limit on their size and on every wait.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use reqwest::Response;
use tokio::time::timeout;

use super::failure::Failure;
use crate::error::Error;

/// Most that is read of an answer with an error status.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Room made at once for a body that says how long it is; more only as it comes.
const FIRST_CAPACITY: usize = 64 << 10;

/// Reads a whole body of at most `limit` bytes. A longer one is given up as soon as that is known; the connection is
/// closed with it.
pub(super) async fn read(
    mut response: Response,
    what: &'static str,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let announced = announced_length(&response);
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::of(Error::TooLarge { what, limit }));
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default().min(FIRST_CAPACITY));
    while let Some(chunk) = next_chunk(&mut response, patience).await? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::of(Error::TooLarge { what, limit }));
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
