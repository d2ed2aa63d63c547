//! The couples' questions: per cache type a fixed list of questions in order of popularity, and the
//! questions that couples type themselves.

use fastrand::Rng;

use super::assumptions::{self as assume, Assumptions};
use super::vendors::KINDS;
use super::zipf::{Zipf, chance, weighted};

/// The cache types of the brief.
pub const TYPES: [&str; 7] = [
    "venue_recommendations",
    "vendor_matching",
    "budget_optimization",
    "timeline_generation",
    "guest_management",
    "menu_suggestions",
    "decor_inspiration",
];
const VENUES: usize = 0;
const VENDORS: usize = 1;

/// A question as a couple remembers it; the text is derived from these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Index into [`TYPES`].
    pub kind: usize,
    pub text: Text,
    /// The vendor that the question names: its kind, and its index in the couple's place.
    pub vendor: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// The rank of an offered question; 0 is the most popular.
    Offered(usize),
    /// The running number of a typed question, over all couples.
    Typed(u64),
}

/// A generator of questions.
pub struct Questions {
    popularity: Zipf,
    vendors: Vec<Zipf>,
    free_text: f64,
    typed: u64,
}

impl Questions {
    pub fn new(assumptions: &Assumptions) -> Self {
        Self {
            popularity: Zipf::new(assumptions.questions_per_type, assumptions.zipf),
            vendors: KINDS
                .iter()
                .map(|kind| popular_vendors(kind.a_place))
                .collect(),
            free_text: assumptions.free_text,
            typed: 0,
        }
    }

    /// Draws a new question of a couple; `late` means in its last three months.
    pub fn draw(&mut self, rng: &mut Rng, late: bool) -> Question {
        let shares = assume::TYPE_SHARES.map(|shares| shares[usize::from(late)]);
        let kind = weighted(rng, shares);
        let text = if chance(rng, self.free_text) {
            self.typed += 1;
            Text::Typed(self.typed)
        } else {
            Text::Offered(self.popularity.draw(rng))
        };
        let names_one =
            (kind == VENUES || kind == VENDORS) && chance(rng, assume::ABOUT_ONE_VENDOR);
        let vendor = names_one.then(|| {
            let of = if kind == VENUES { 0 } else { vendor_kind(text) };
            (of, self.vendors[of].draw(rng))
        });
        Question { kind, text, vendor }
    }
}

/// Returns the popularity of the vendors of one kind: well-known ones are named more often.
pub fn popular_vendors(count: u32) -> Zipf {
    Zipf::new(count as usize, 0.8)
}

impl Question {
    pub fn content(&self) -> String {
        let (wordings, parameters) = &WORDINGS[self.kind];
        match self.text {
            Text::Offered(rank) => {
                let (wording, rest) = (wordings[rank % wordings.len()], rank / wordings.len());
                let parameter = parameters[rest % parameters.len()];
                match rest / parameters.len() {
                    0 => format!("{wording} {parameter}?"),
                    more => format!("{wording} {parameter}, idea {}?", more + 1),
                }
            }
            Text::Typed(number) => {
                let wording = wordings[0];
                format!("{wording} our own case, as I wrote in note {number}?")
            }
        }
    }

    /// Returns the vendor type that a question of type `vendor_matching` names.
    pub fn vendor_types(&self) -> Vec<String> {
        if self.kind == VENDORS {
            vec![KINDS[vendor_kind(self.text)].name.to_owned()]
        } else {
            Vec::new()
        }
    }
}

/// Returns the kind of vendor, as an index into [`KINDS`].
fn vendor_kind(text: Text) -> usize {
    match text {
        Text::Offered(rank) => rank % KINDS.len(),
        Text::Typed(number) => usize::try_from(number).unwrap_or(0) % KINDS.len(),
    }
}

type Wordings = ([&'static str; 6], [&'static str; 10]);

/// The wordings of each type and the texts that complete them, in the order of [`TYPES`].
const WORDINGS: [Wordings; 7] = [
    (
        [
            "Which venues suit",
            "Where can we celebrate with",
            "What should we ask a venue about",
            "Which venue is best for",
            "Are there hidden gems for",
            "Which venues have parking and",
        ],
        [
            "our day",
            "a garden ceremony",
            "a barn",
            "dogs",
            "live music",
            "a rooftop",
            "children",
            "a late party",
            "rain",
            "overnight guests",
        ],
    ),
    (
        [
            "Whom should we book for",
            "Who photographs, cooks or plants best for",
            "How do we choose between vendors for",
            "Which vendor fits",
            "What does a good vendor charge for",
            "Who is free for",
        ],
        [
            "our day",
            "a small ceremony",
            "a tight budget",
            "a barn",
            "an outdoor dinner",
            "a winter light",
            "two cultures",
            "a short notice",
            "many children",
            "a weekend",
        ],
    ),
    (
        [
            "How should we share out our budget for",
            "Where can we save on",
            "What does it cost to have",
            "How much should we set aside for",
            "Is it worth paying more for",
            "Which deposits are due for",
        ],
        [
            "everything",
            "the venue",
            "food and drinks",
            "photos",
            "flowers",
            "music",
            "clothes",
            "invitations",
            "the honeymoon",
            "surprises",
        ],
    ),
    (
        [
            "What comes next in",
            "Plan hour by hour",
            "What has to be booked by when for",
            "What can wait in",
            "Who does what in",
            "What is late in",
        ],
        [
            "our plan",
            "our day",
            "the last month",
            "the last week",
            "the morning",
            "the ceremony",
            "the dinner",
            "the party",
            "the rehearsal",
            "the day after",
        ],
    ),
    (
        [
            "Who has not replied about",
            "How do we seat",
            "How do we word a message on",
            "Who needs help with",
            "What should we know for",
            "How many come to",
        ],
        [
            "the invitation",
            "both families",
            "the dinner",
            "diets",
            "travel",
            "children",
            "plus ones",
            "the rehearsal",
            "hotels",
            "late replies",
        ],
    ),
    (
        [
            "Suggest a menu for",
            "What can we serve at",
            "Which drinks fit",
            "What do vegans eat at",
            "What is in season for",
            "How much food do we need for",
        ],
        [
            "our dinner",
            "a buffet",
            "the reception",
            "midnight",
            "a barbecue",
            "a brunch",
            "children",
            "allergies",
            "a food truck",
            "the cake",
        ],
    ),
    (
        [
            "Which colours suit",
            "Ideas for",
            "Which flowers suit",
            "How do we light",
            "What can we make ourselves for",
            "Which materials fit",
        ],
        [
            "our day",
            "the tables",
            "the aisle",
            "the arch",
            "the entrance",
            "the bar",
            "the invitations",
            "the dance floor",
            "chairs",
            "the cake table",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rank_of_every_type_is_a_question_of_its_own() {
        let mut texts = HashSet::new();
        for kind in 0..TYPES.len() {
            for rank in 0..200 {
                let text = Text::Offered(rank);
                let question = Question {
                    kind,
                    text,
                    vendor: None,
                };
                assert!(texts.insert((kind, question.content())), "{question:?}");
            }
        }
    }

    #[test]
    fn types_come_in_their_shares() {
        let (mut questions, mut rng) = (Questions::new(&Assumptions::default()), Rng::with_seed(5));
        for late in [false, true] {
            let mut counts = [0_u32; TYPES.len()];
            (0..50_000).for_each(|_| counts[questions.draw(&mut rng, late).kind] += 1);
            for (count, shares) in counts.iter().zip(assume::TYPE_SHARES) {
                let share = f64::from(*count) / 50_000.0;
                assert!(
                    (share - shares[usize::from(late)]).abs() < 0.01,
                    "{counts:?}"
                );
            }
        }
    }
}
