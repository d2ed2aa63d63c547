//! The simulator's prose: plausible advice of 600 to 1500 bytes that mentions vendors.

use std::fmt::Write as _;

use super::world::Vendors;

/// The lengths within which answers grow; the last sentence exceeds the drawn length.
const LEAST_BYTES: usize = 640;
const MOST_BYTES: usize = 1_150;
/// The most vendors that an answer mentions.
const MOST_VENDORS: usize = 4;

/// The vendors in an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mentions {
    /// Vendors that the answer names.
    pub vendors: Vec<String>,
    /// True if the prompt names vendors that have closed.
    pub misses_closed: bool,
}

/// The readiness to mention vendors that the prompt does not name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habit {
    /// The share of answers that mention some, 0 to 1.
    pub(super) rate: f64,
    /// The most that one answer mentions.
    pub(super) most: usize,
}

/// Returns the vendors that an answer mentions: those of the prompt, otherwise some that fit it.
/// None of them has closed.
pub(super) fn mentions(
    prompt: &str,
    world: &Vendors,
    habit: Habit,
    rng: &mut fastrand::Rng,
) -> Mentions {
    let mut mentions = Mentions::default();
    for word in prompt.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')) {
        let id = word.trim_end_matches(['-', '_']);
        let is_id = id.strip_prefix("v-").is_some_and(|rest| !rest.is_empty());
        if !is_id && world.get(id).is_none() {
            continue;
        }
        if world.is_closed(id) {
            mentions.misses_closed = true;
        } else if mentions.vendors.len() < MOST_VENDORS
            && !mentions.vendors.iter().any(|known| known == id)
        {
            mentions.vendors.push(id.to_owned());
        }
    }
    let (mentions_any, count) = (rng.f64() < habit.rate, rng.usize(1..=habit.most.max(1)));
    let count = count.min(habit.most);
    if mentions.vendors.is_empty() && (mentions_any || mentions.misses_closed) {
        // Closed vendors are shuffled too and dropped afterwards, so that a vendor's closing
        // changes only the answers that named it.
        let mut fitting = world.fitting(prompt);
        rng.shuffle(&mut fitting);
        let open = fitting.into_iter().filter(|id| !world.is_closed(id));
        mentions.vendors = open.take(count).map(str::to_owned).collect();
    }
    mentions
}

/// Writes an answer to `prompt`.
pub(super) fn write(
    prompt: &str,
    mentions: &Mentions,
    world: &Vendors,
    rng: &mut fastrand::Rng,
) -> String {
    let mut out = String::with_capacity(MOST_BYTES + 350);
    out.push_str(pick(OPENINGS, rng));
    if mentions.misses_closed {
        out.push_str(" A vendor of your question has closed for good and is left out.");
    }
    for vendor in &mentions.vendors {
        let praise = pick(PRAISE, rng);
        write!(out, " {vendor} {praise}").expect("a String takes it");
        if let Some(sentence) = world.sentence(vendor, prompt) {
            out.push(' ');
            out.push_str(&sentence);
        }
    }
    let length = rng.usize(LEAST_BYTES..MOST_BYTES);
    for sentence in sentences(prompt, rng) {
        if out.len() >= length {
            break;
        }
        out.push(' ');
        out.push_str(sentence);
    }
    out
}

/// Returns the sentences on the prompt's subject, then the general ones, each group shuffled.
fn sentences(prompt: &str, rng: &mut fastrand::Rng) -> Vec<&'static str> {
    let prompt = prompt.to_lowercase();
    let mut about: Vec<&str> = TOPICS
        .iter()
        .filter(|(words, _)| words.iter().any(|word| prompt.contains(word)))
        .flat_map(|(_, sentences)| *sentences)
        .copied()
        .collect();
    let mut general = GENERAL.to_vec();
    rng.shuffle(&mut about);
    rng.shuffle(&mut general);
    about.extend(general);
    about
}

fn pick(from: &[&'static str], rng: &mut fastrand::Rng) -> &'static str {
    from[rng.usize(..from.len())]
}

const OPENINGS: &[&str] = &[
    "Start from what matters most to the two of you, then let the date and the budget settle the rest.",
    "Three options stand out here, and they differ more in atmosphere than in price.",
    "For a celebration like this, an early and short list beats a long and late one.",
    "The good news is that this is very doable; the order in which you book makes the difference.",
];

const PRAISE: &[&str] = &[
    "is a strong match: flexible with dates and used to celebrations of this size.",
    "has glowing references for this style; ask for a full gallery of a recent wedding.",
    "fits the budget well, with set-up and travel already in the package.",
    "is worth a first call, since weekends in season go quickly there.",
    "offers a tasting or trial before you sign, which is the best way to compare.",
];

type Topic = (&'static [&'static str], &'static [&'static str]);

const TOPICS: &[Topic] = &[
    (
        &["venue", "barn", "hall", "estate"],
        &[
            "See the venue at the hour of your ceremony: the light, the traffic and the heat are different then.",
            "Ask what happens when it rains, and whether the covered plan B costs extra.",
            "Compare venues by what is included: tables, linen, sound and staff often decide the real price.",
            "Check the curfew and the last load-out before you promise anyone a late dance floor.",
        ],
    ),
    (
        &["florist", "flower", "bouquet", "decor"],
        &[
            "Seasonal stems are fresher and cost up to a third less than imported ones.",
            "Let the ceremony flowers move to the reception; nobody will see them twice as the same.",
            "Greenery and candles carry a room further than many small arrangements.",
            "Give your florist two colours and one feeling rather than forty pictures.",
        ],
    ),
    (
        &["photo", "film", "video"],
        &[
            "Plan the portraits for the hour before sunset and keep the family list under fifteen groupings.",
            "Ask who will actually be there on the day, and who stands in if they are ill.",
            "Eight hours cover most weddings from the first look to the first dances.",
        ],
    ),
    (
        &["menu", "cater", "food", "cake", "dish"],
        &[
            "Two mains and a vegetarian dish that is meant as one keep service quick and everyone happy.",
            "Collect allergies with the replies, not in the last week, and send them to the kitchen in writing.",
            "A late snack at eleven does more for the party than a fourth course at eight.",
            "For outdoor summer receptions, choose dishes that forgive twenty minutes of waiting.",
        ],
    ),
    (
        &["budget", "cost", "price", "save"],
        &[
            "Keep eight to ten percent aside; something will cost more than its quote.",
            "Venue and catering usually take half of the whole, so that is where a change of day pays.",
            "Ask every vendor for the total with tax, service and travel before you compare.",
        ],
    ),
    (
        &["guest", "seating", "invit", "rsvp"],
        &[
            "Send invitations eight weeks ahead and ask for replies four weeks before the day.",
            "Seat people by who they would talk to rather than by how they are related.",
            "Expect between ten and twenty percent to decline, more where many have to travel.",
        ],
    ),
    (
        &["timeline", "schedule", "when", "plan"],
        &[
            "Put fifteen free minutes after each larger part of the day; something always runs over.",
            "Book venue, photographer and caterer first: they take one wedding a day, others take more.",
            "Write one page with times, names and telephone numbers, and give it to every vendor.",
        ],
    ),
];

const GENERAL: &[&str] = &[
    "Fridays and Sundays are often a fifth cheaper than Saturdays, with the same people at work.",
    "Read the cancellation terms before the price; they tell you how a vendor thinks.",
    "Have one person who is not you answer the telephone on the day.",
    "Confirm arrival times in writing ten days before, and again two days before.",
    "If two offers are close, take the one that answered your questions more clearly.",
    "Decide early what you can happily do without; it makes all later choices easier.",
    "Ask for two recent couples you may call, and ask those what they would change.",
    "Deposits of a quarter to a third are usual; be careful where all is due in advance.",
    "Local vendors know the roads, the weather and each other, which saves you small worries.",
    "Keep all contracts and receipts in one shared folder from the first day.",
    "A short visit in person is worth more than another evening of comparing pictures.",
    "Leave an hour for yourselves between the ceremony and the evening, and tell no one about it.",
];
