//! From a reply's bytes to its text: decodes compression and character sets, requested or not.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use std::string::FromUtf8Error;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use crate::ai::error::ReplyProblem;

/// A reply as it was received.
#[derive(Debug, Default)]
pub(in crate::ai) struct Raw {
    pub bytes: Vec<u8>,
    /// The values of `Content-Encoding`, in the order in which the encodings were applied.
    pub encodings: Vec<String>,
    /// The value of `Content-Type`.
    pub media_type: String,
}

/// A reply's text.
#[derive(Debug)]
pub(super) struct Text {
    pub text: String,
    /// True if characters had to be replaced by U+FFFD.
    pub replaced: bool,
}

/// The most nested compressions that are undone without a header that announces them.
const UNANNOUNCED: usize = 2;

/// Reads the text of a reply that may unpack to at most `limit` bytes.
pub(super) fn text(raw: Raw, limit: usize) -> Result<Text, ReplyProblem> {
    let mut bytes = raw.bytes;
    for encoding in raw.encodings.iter().rev() {
        if let Some(packing) = Packing::named(encoding, &bytes) {
            bytes = match packing.unpack(&bytes, limit) {
                // The header names another compression than the bytes show.
                Err(ReplyProblem::Packed) if Packing::seen(&bytes).is_some() => bytes,
                unpacked => unpacked?,
            };
        }
    }
    for _ in 0..UNANNOUNCED {
        let Some(packing) = Packing::seen(&bytes) else {
            break;
        };
        bytes = packing.unpack(&bytes, limit)?;
    }
    Ok(characters(bytes, &raw.media_type))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    /// The `deflate` of HTTP.
    Zlib,
    /// The format that some servers send as `deflate`.
    RawDeflate,
    Brotli,
    Zstd,
}

impl Packing {
    /// Returns the compression of a name in `Content-Encoding`; `None` if the name is no
    /// compression, or if the header is wrong and the bytes are plain.
    fn named(name: &str, bytes: &[u8]) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let seen = Self::seen(bytes);
        match name.strip_prefix("x-").unwrap_or(&name) {
            "gzip" | "zstd" => seen,
            "deflate" => seen.or_else(|| (!is_plain(bytes)).then_some(Self::RawDeflate)),
            "br" | "brotli" => (!is_plain(bytes)).then_some(Self::Brotli),
            _ => None,
        }
    }

    /// Detects the compression by the first bytes. Brotli and raw deflate have no marker.
    fn seen(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // RFC 1950, section 2.2: method 8, and check bits that make the header a multiple of
            // 31.
            [
                method @ (0x08 | 0x18 | 0x28 | 0x38 | 0x48 | 0x58 | 0x68 | 0x78),
                check,
                ..,
            ] if (u16::from(*method) * 256 + u16::from(*check)).is_multiple_of(31)
                && !is_plain(bytes) =>
            {
                Some(Self::Zlib)
            }
            _ => None,
        }
    }

    fn unpack(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, ReplyProblem> {
        match self {
            // A second member may follow, or bytes that belong to none.
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(packed), limit)
                .or_else(|_| read(flate2::read::GzDecoder::new(packed), limit)),
            Self::Zlib => read(flate2::read::ZlibDecoder::new(packed), limit),
            Self::RawDeflate => read(flate2::read::DeflateDecoder::new(packed), limit),
            Self::Brotli => read(brotli_decompressor::Decompressor::new(packed, 4096), limit),
            Self::Zstd => {
                let frames = ruzstd::decoding::StreamingDecoder::new(packed);
                read(frames.map_err(|_| ReplyProblem::Packed)?, limit)
            }
        }
    }
}

/// Reads to the end. If the packed bytes end too early, the part that was read is kept: its JSON
/// will show whether the reply is whole.
fn read(mut from: impl Read, limit: usize) -> Result<Vec<u8>, ReplyProblem> {
    let mut unpacked = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(unpacked),
            Ok(read) if unpacked.len() + read > limit => {
                return Err(ReplyProblem::TooLarge { limit });
            }
            Ok(read) => unpacked.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && !unpacked.is_empty() => {
                return Ok(unpacked);
            }
            Err(_) => return Err(ReplyProblem::Packed),
        }
    }
}

/// Returns true if the bytes are text that begins as JSON or events do.
fn is_plain(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    start.is_empty()
        || start.starts_with(['{', '[', '"', ':', '<'])
        || start.starts_with("data:")
        || start.starts_with("event:")
}

/// Decodes UTF-8 if the bytes are valid UTF-8, whatever the header says; otherwise decides by a
/// byte order mark, by the zeros that UTF-16 has in ASCII, or by the header's charset.
fn characters(bytes: Vec<u8>, media_type: &str) -> Text {
    let wide = match bytes.as_slice() {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        [first, 0, ..] if *first != 0 => Some(UTF_16LE),
        [0, second, ..] if *second != 0 => Some(UTF_16BE),
        _ => None,
    };
    let (text, replaced) = match (wide, String::from_utf8(bytes)) {
        (None, Ok(text)) => (text, false),
        (wide, whole) => {
            let bytes = whole.map_or_else(FromUtf8Error::into_bytes, String::into_bytes);
            let encoding = wide.or_else(|| charset(media_type));
            let (text, _, replaced) = encoding.unwrap_or(encoding_rs::UTF_8).decode(&bytes);
            (Cow::into_owned(text), replaced)
        }
    };
    let bare = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\0'));
    Text {
        text: bare.to_owned(),
        replaced,
    }
}

fn charset(media_type: &str) -> Option<&'static Encoding> {
    let parameter = media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })?;
    Encoding::for_label(parameter.trim().trim_matches(['"', '\'']).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 4096;
    const REPLY: &str = "{\"choices\": [{\"message\": {\"content\": \"Ask v-18, and then Café Grün; \u{1f490}\"}}]}";
    /// `REPLY` as `brotli -q 5` writes it.
    const BROTLI: &[u8] = &[
        0x1b, 0x4e, 0x00, 0x00, 0xe4, 0xe2, 0x54, 0xd2, 0xbf, 0xf7, 0x2c, 0x5b, 0x94, 0x2d, 0x30,
        0xf6, 0x00, 0xcf, 0x05, 0xa4, 0x5c, 0xf0, 0x5a, 0x50, 0x0a, 0x1b, 0x70, 0x22, 0x14, 0x61,
        0xe8, 0x19, 0x8f, 0x74, 0x57, 0xdf, 0x99, 0xe2, 0x40, 0xe7, 0x84, 0x3c, 0x18, 0x07, 0xb2,
        0x20, 0x0f, 0x07, 0xce, 0xde, 0x1e, 0x1e, 0x50, 0x1c, 0x0a, 0x98, 0x09, 0x86, 0xad, 0x48,
        0xe6, 0x1a, 0x64, 0x2f, 0x7e, 0xbf, 0xa0, 0xf7, 0xef, 0xaf, 0x16, 0xe0, 0xff, 0x79, 0x6e,
        0xbc, 0x2e, 0xeb, 0x02,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn came(bytes: Vec<u8>, encodings: &[&str], media_type: &str) -> Result<Text, ReplyProblem> {
        let raw = Raw {
            bytes,
            encodings: encodings.iter().map(|&of| of.to_owned()).collect(),
            media_type: media_type.to_owned(),
        };
        text(raw, LIMIT)
    }

    #[track_caller]
    fn check(bytes: Vec<u8>, encodings: &[&str]) {
        let got = came(bytes, encodings, "application/json").unwrap();
        assert_eq!(
            (got.text.as_str(), got.replaced),
            (REPLY, false),
            "{encodings:?}"
        );
    }

    #[test]
    fn compressed_replies_are_unpacked_whatever_the_header_says() {
        let plain = REPLY.as_bytes();
        check(gzip(plain), &["gzip"]);
        check(gzip(plain), &["x-gzip"]);
        check(gzip(plain), &[" GZIP "]);
        check(gzip(plain), &[]);
        check(gzip(plain), &["br"]);
        check(zlib(plain), &["deflate"]);
        check(zlib(plain), &[]);
        check(deflate(plain), &["deflate"]);
        check(BROTLI.to_vec(), &["br"]);
        check(zstd(plain), &["zstd"]);
        check(zstd(plain), &[]);
        check(gzip(BROTLI), &["br", "gzip"]);
        check(gzip(&gzip(plain)), &["gzip"]);
        for wrong in [
            "gzip", "deflate", "br", "zstd", "identity", "utf-8", "none", "",
        ] {
            check(plain.to_vec(), &[wrong]);
        }
    }

    #[test]
    fn what_follows_or_is_missing_behind_the_packed_bytes_does_not_matter() {
        let packed = gzip(REPLY.as_bytes());
        check([packed.as_slice(), b"\r\n"].concat(), &["gzip"]);
        check(packed[..packed.len() - 6].to_vec(), &["gzip"]);
        let halves = REPLY.split_at(20);
        check(
            [gzip(halves.0.as_bytes()), gzip(halves.1.as_bytes())].concat(),
            &["gzip"],
        );
    }

    #[test]
    fn rubbish_and_bombs_are_refused() {
        let bomb = vec![b'x'; LIMIT + 1];
        for packed in [gzip(&bomb), zlib(&bomb), zstd(&bomb)] {
            assert_eq!(
                came(packed, &[], "").unwrap_err(),
                ReplyProblem::TooLarge { limit: LIMIT }
            );
        }
        assert_eq!(
            came(vec![0x1f, 0x8b, 1, 2, 3], &[], "").unwrap_err(),
            ReplyProblem::Packed
        );
        assert_eq!(
            came(vec![0xff; 40], &["br"], "").unwrap_err(),
            ReplyProblem::Packed
        );
    }

    #[test]
    fn every_usual_character_set_is_read() {
        let wide =
            |units: fn(u16) -> [u8; 2]| REPLY.encode_utf16().flat_map(units).collect::<Vec<u8>>();
        let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        let latin = REPLY
            .chars()
            .filter(|c| u32::from(*c) < 256)
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect::<Vec<u8>>();
        let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        for (bytes, media_type) in [
            (
                marked(b"\xef\xbb\xbf", REPLY.as_bytes()),
                "application/json",
            ),
            (marked(b"\r\n\n \xef\xbb\xbf ", REPLY.as_bytes()), ""),
            (
                marked(b"", REPLY.as_bytes()),
                "application/json; charset=iso-8859-1",
            ),
            (marked(b"", REPLY.as_bytes()), "text/html; charset=utf-16"),
            (marked(b"", REPLY.as_bytes()), "; charset"),
            (marked(b"\xff\xfe", &little), ""),
            (marked(b"\xfe\xff", &big), ""),
            (little, "application/json; charset=utf-16"),
            (big, ""),
            ([REPLY.as_bytes(), b"\0\0\n"].concat(), ""),
        ] {
            let got = came(bytes, &[], media_type).unwrap();
            assert_eq!(
                (got.text.as_str(), got.replaced),
                (REPLY, false),
                "{media_type}"
            );
        }
        let got = came(
            latin.clone(),
            &[],
            "application/json; Charset=\"ISO-8859-1\"",
        )
        .unwrap();
        assert!(
            got.text.contains("Café Grün") && !got.replaced,
            "{}",
            got.text
        );
        let got = came(latin, &[], "application/json").unwrap();
        assert!(
            got.text.contains("Caf\u{fffd} Gr\u{fffd}n") && got.replaced,
            "{}",
            got.text
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200), name in "gzip|deflate|br|zstd|x", media_type in "text/x; charset=(utf-8|utf-16|gbk|x)") {
            if let Ok(text) = came(bytes, &[&name], &media_type) {
                prop_assert!(text.text.len() <= 3 * LIMIT);
            }
        }

        #[test]
        fn what_was_packed_is_unpacked(text in "\\{\\PC{0,300}\\}") {
            for packed in [gzip(text.as_bytes()), zlib(text.as_bytes()), zstd(text.as_bytes()), text.clone().into_bytes()] {
                prop_assert_eq!(came(packed, &[], "").unwrap().text, text.clone());
            }
        }
    }
}
