//! Layers: small real tar archives in a gzip envelope, as the
//! [OCI layer specification](https://github.com/opencontainers/image-spec/blob/main/layer.md) describes them.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Size of a tar record.
const TAR_BLOCK: usize = 512;
/// Largest stored block of deflate.
const STORED_BLOCK: usize = 0xffff;

/// A blob and the media type its descriptors give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…` of `bytes`.
    pub digest: String,
    /// Media type named in descriptors.
    pub media_type: String,
    /// The content.
    pub bytes: Bytes,
    /// Size named in descriptors; differs from the real one only when a test says so.
    pub declared_size: u64,
}

impl Blob {
    /// A blob with its real size and digest.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: sha256(&bytes),
            media_type: media_type.into(),
            declared_size: bytes.len() as u64,
            bytes,
        }
    }

    /// The descriptor that manifests name this blob by.
    #[must_use]
    pub fn descriptor(&self) -> serde_json::Value {
        serde_json::json!({"mediaType": self.media_type, "digest": self.digest, "size": self.declared_size})
    }
}

/// A layer before it has a media type: compressed bytes and the digest of the plain tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The gzipped tar, or whatever a test wants served as a layer.
    pub bytes: Bytes,
    /// Digest of the uncompressed tar, as `rootfs.diff_ids` of the config wants it.
    pub diff_id: String,
    /// Size that the descriptor claims; `None` for the real one.
    pub declared_size: Option<u64>,
}

impl Layer {
    /// A gzipped tar that holds one file.
    #[must_use]
    pub fn file(path: &str, content: &[u8]) -> Self {
        let tar = tar(path, content);
        Self {
            bytes: gzip(&tar).into(),
            diff_id: sha256(&tar),
            declared_size: None,
        }
    }

    /// Any bytes in place of a layer.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            diff_id: sha256(&bytes),
            bytes,
            declared_size: None,
        }
    }

    /// Claims another size than the real one in the descriptor.
    #[must_use]
    pub fn declaring(mut self, size: u64) -> Self {
        self.declared_size = Some(size);
        self
    }
}

/// `sha256:` and the lower-case hex digest of `content`.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(content) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// One regular file in a [ustar](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) archive.
fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    assert!(path.len() <= 100, "ustar names have at most 100 bytes");
    let mut header = [0_u8; TAR_BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    // The checksum is computed with its own field filled with spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(TAR_BLOCK) + 2 * TAR_BLOCK, 0);
    archive
}

/// A gzip member ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)) of stored, uncompressed blocks: valid for
/// every reader, the same bytes on every run, and no compressor needed.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = plain.chunks(STORED_BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("chunks have at most 65535 bytes");
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(plain).to_le_bytes());
    let length = u32::try_from(plain.len()).expect("layers of tests are small");
    out.extend_from_slice(&length.to_le_bytes());
    out
}

fn crc32(content: &[u8]) -> u32 {
    !content.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_layer_unpacks_with_tar() {
        let layer = Layer::file("etc/hello", b"hello from a layer\n");
        let mut tar = Command::new("tar")
            .args(["-xzOf", "-", "etc/hello"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar is installed");
        tar.stdin.take().unwrap().write_all(&layer.bytes).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"hello from a layer\n");
    }

    #[test]
    fn layers_of_several_stored_blocks_unpack_too() {
        let content = vec![b'x'; 3 * STORED_BLOCK + 17];
        let layer = Layer::file("big", &content);
        let mut gunzip = Command::new("gzip")
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip is installed");
        let mut input = gunzip.stdin.take().unwrap();
        let bytes = layer.bytes.clone();
        let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
        let output = gunzip.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!(sha256(&output.stdout), layer.diff_id);
    }

    #[test]
    fn checksum_of_the_standard_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
