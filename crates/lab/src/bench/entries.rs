//! Generated cached answers with realistic tags, texts and lengths.

use std::sync::LazyLock;
use std::time::Duration;

use wedcache::model::entry::{Extensions, Header};
use wedcache::model::{
    AiQuery, CacheKey, Catalog, Entry, LogId, Position, Prepared, Tag, Timestamp,
};

use super::queries::HIT_TYPE;

const FRESH_FOR: Duration = Duration::from_hours(24);
const KEPT_FOR: Duration = Duration::from_hours(48);
/// The number of vendors that the stored answers name.
const VENDORS: u64 = 50;

/// Words in order of frequency: [`text`] draws the earlier ones more often, so that its text
/// compresses about as well as English of that length.
const PROSE: &str = "the a and of to for with in is at you your on it that are be or from this as \
    by will they can have not one two three all any per about between before after during until \
    photographer florist caterer venue garden barn ceremony reception guests dinner music flowers \
    roses peonies hydrangeas eucalyptus candles lanterns linen ivory sage blush copper rustic \
    outdoor indoor terrace vineyard lakeside courtyard ballroom tent dance floor string quartet \
    playlist toast speech champagne buffet plated vegetarian vegan gluten dessert cake tasting \
    budget deposit contract invoice availability Saturday Friday Sunday morning afternoon evening \
    sunset golden hour portrait candid documentary album gallery drone second shooter assistant \
    arrives leaves parking shuttle hotel block accessible ramp weather plan rain wind heat shade \
    insurance permit curfew amplifier generator lighting dimmer ask whether confirm early";

static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| PROSE.split_ascii_whitespace().collect());

/// The moment at which an answer was made, and the log position that it is stamped with.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    pub log_id: LogId,
    pub stamp: Position,
    pub at: Timestamp,
}

/// Returns prose of this many bytes, different for each number.
pub fn text(number: u64, bytes: usize) -> String {
    let words = WORDS.as_slice();
    let mut rng = fastrand::Rng::with_seed(number);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        // The lower of two draws, so that the first word is the most frequent and the last the
        // rarest.
        let at = rng.usize(..words.len()).min(rng.usize(..words.len()));
        text.push_str(words[at]);
        text.push(if rng.u8(..) < 20 { '\n' } else { ' ' });
    }
    text.truncate(bytes);
    text
}

/// Returns the entry that answers a query with `data`; `None` if the catalog lacks its cache type.
pub fn answering(catalog: &Catalog, query: &AiQuery, data: &str, made: Made) -> Option<Entry> {
    let prepared = Prepared::of(catalog, query).ok()?;
    let tags = prepared.entry_tags(catalog, query, data).tags;
    Some(entry(prepared.key, tags, data, made))
}

/// Returns an entry whose key is derived from the number, for layers filled without queries.
pub fn numbered(number: u64, bytes: usize, made: Made) -> Entry {
    let tags = vec![
        Tag::global(HIT_TYPE),
        Tag::location(HIT_TYPE, "austin-tx"),
        Tag::vendor(HIT_TYPE, &format!("v-{}", number % VENDORS)),
    ];
    let text = text(number ^ made.stamp.0.unsigned_abs() << 40, bytes);
    entry(key(number), tags, &text, made)
}

/// Returns the key of the entry that [`numbered`] makes.
pub fn key(number: u64) -> CacheKey {
    let hash = blake3::hash(&number.to_le_bytes()).to_hex();
    CacheKey::from_text(&format!(
        "{HIT_TYPE}:austin-tx:summer:moderate:{hash}:style=rustic:prompt=1"
    ))
}

fn entry(key: CacheKey, tags: Vec<Tag>, data: &str, made: Made) -> Entry {
    Entry {
        key,
        header: Header {
            log_id: made.log_id,
            stamp: made.stamp,
            called_at: made.at,
            cached_at: made.at,
            expires_at: made.at.plus(FRESH_FOR),
            keep_until: made.at.plus(KEPT_FOR),
            prompt_tokens: 321,
            completion_tokens: 380,
            cost_usd: Some(0.0021),
            simulated: true,
            tag_hashes: tags.iter().map(Tag::hash).collect(),
            extensions: Extensions::default(),
        },
        tags: tags.into_iter().collect(),
        model: "simulated-planner".into(),
        data: data.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_length_asked_for_and_compress_as_prose_does() {
        let text = text(7, 1500);
        assert_eq!(text.len(), 1500);
        let made = Made {
            log_id: LogId([7; 16]),
            stamp: Position(3),
            at: Timestamp(0),
        };
        let encoded = numbered(7, 1500, made).encode();
        assert!(
            (1000..1500).contains(&encoded.len()),
            "{} bytes",
            encoded.len()
        );
        assert_eq!(Entry::decode(&encoded).unwrap().key, key(7));
    }
}
