//! The numbers of the model, all in one place, each with its reason. None was fitted to a result;
//! `--sensitivity` shows the results under other numbers.
//!
//! "Brief" is WedSync's own brief; "assumption" means that nobody has measured the number for us.

use std::time::Duration;

/// The numbers that can be varied without changing the shape of the model.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assumptions {
    /// Exponent of the popularity of a type's questions: P(rank k) ∝ 1/k^s. Web requests measured
    /// 0.64–0.83 (Breslau et al., INFOCOM 1999) and words in language about 1; suggested questions
    /// that an app shows in a fixed order lie between. Assumption.
    pub zipf: f64,
    /// Different questions of a type that WedSync's pages and suggestions offer. Assumption: 6
    /// wordings with one parameter of 10 values.
    pub questions_per_type: usize,
    /// Share of new questions that a couple types itself, so that no other couple asks the same.
    /// Assumption: most questions come from pages and buttons, as the brief's 70 % mobile use
    /// suggests.
    pub free_text: f64,
    /// Share of questions that the couple has asked before, because it opens the same page again or
    /// looks an answer up again. Assumption.
    pub asked_again: f64,
    /// The factor that all rates of vendor and wedding changes are multiplied by.
    pub change_rate: f64,
    /// The simulated share of couples: those of every n-th cell of place × season × budget, where n
    /// is a power of two from 1 to 256. Keys contain all three, so couples of different cells never
    /// share an answer, and leaving cells out changes no hit rate: a short run can stand for a
    /// platform that is larger by this factor, at its real density.
    pub sample: usize,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            zipf: 0.9,
            questions_per_type: 60,
            free_text: 0.06,
            asked_again: 0.35,
            change_rate: 1.0,
            sample: 16,
        }
    }
}

/// Queries of the whole platform in a year. Assumption: some 30 000 couples who marry in a year, of
/// the 2 million in the US (CDC), at the use below. The number decides the hit rate of shared
/// types, since a key must be asked twice within its time to live; the brief's own 10 million live
/// entries mean a far larger platform. `--sensitivity` has smaller and larger ones.
pub const PLATFORM_QUERIES_A_YEAR: u64 = 24_000_000;

/// Instances of the fleet. Assumption: the fewest without a single point of failure.
pub const INSTANCES: usize = 2;

// --- couples -----------------------------------------------------------------------------------

/// Days from the engagement to the wedding, uniform: 6 to 18 months, mean 12. The Knot's surveys
/// of US couples give means of 12 to 15 months.
pub const ENGAGED_DAYS: std::ops::RangeInclusive<i64> = 183..=548;

/// Days that weddings lie ahead at most. The months of weddings, and the load of each month of the
/// year, follow the topology's capacity factors (brief: ×1.0, ×1.8, ×3.0); a date is as likely as
/// its month's factor.
pub const WEDDING_HORIZON_DAYS: i64 = *ENGAGED_DAYS.end();

/// Share of couples who marry in one of the ten major markets and not in a small city. Assumption:
/// their metropolitan areas hold about a quarter of the US, and users of an online platform are
/// more urban.
pub const IN_MARKETS: f64 = 0.6;

/// Budget range, in the order budget, moderate, premium, luxury. Assumption.
pub const BUDGETS: [f64; 4] = [0.30, 0.42, 0.20, 0.08];

/// Wedding styles and their shares. Assumption: what vendors' style filters offer.
pub const STYLES: [(&str, f64); 8] = [
    ("rustic", 0.22),
    ("classic", 0.20),
    ("modern", 0.15),
    ("boho", 0.13),
    ("garden", 0.11),
    ("vintage", 0.08),
    ("beach", 0.06),
    ("industrial", 0.05),
];

/// Number of guests: log-normal around 110 with sigma 0.45. The Knot's surveys give means of 115 to
/// 130.
pub const GUESTS_MEDIAN: f64 = 110.0;
pub const GUESTS_SIGMA: f64 = 0.45;

// --- sessions ----------------------------------------------------------------------------------

/// Days a week on which a couple (two people and at times a planner, one wedding id) uses the
/// assistant: early, in the last three months, in the last two weeks. Assumption; the rise in the
/// last months is the task's.
pub const ACTIVE_DAYS_A_WEEK: [f64; 3] = [1.0, 2.5, 4.5];
/// Visits on such a day: 1 plus a geometric number, mean 2. Assumption.
pub const MORE_VISITS: f64 = 0.5;
/// Questions in a visit: 1 plus a geometric number, mean 5. Assumption.
pub const MORE_QUESTIONS: f64 = 0.8;
/// Mean seconds between two questions of a visit, exponential. Assumption: an answer is read.
pub const READING_SECS: f64 = 50.0;
/// The number of its last questions that a couple may ask again, the newest most likely.
/// Assumption.
pub const REMEMBERED: usize = 24;
/// Share of requests that are sent a second time within minutes: reloads, lost connections, an app
/// that comes back to the foreground. Assumption: 70 % of the use is mobile (brief), and one in
/// seven mobile requests is sent again.
pub const RETRIED: f64 = 0.10;
/// The longest time until a request is sent again, in seconds; uniform from 2.
pub const RETRY_WITHIN_SECS: f64 = 240.0;

// --- what is asked -----------------------------------------------------------------------------

/// The share of each cache type in new questions: early, and in the last three months. In the order
/// of [`super::questions::TYPES`]. Assumption: places and vendors are chosen early; guests,
/// schedule and menu come late.
pub const TYPE_SHARES: [[f64; 2]; 7] = [
    [0.24, 0.06], // venue_recommendations
    [0.26, 0.22], // vendor_matching
    [0.14, 0.10], // budget_optimization
    [0.08, 0.20], // timeline_generation
    [0.06, 0.18], // guest_management
    [0.08, 0.12], // menu_suggestions
    [0.14, 0.12], // decor_inspiration
];
/// Share of questions about venues and vendors that name one vendor of the place. Assumption.
pub const ABOUT_ONE_VENDOR: f64 = 0.12;
/// Options, as shares of all questions. Assumption: a "refresh" button, private browsing, services
/// that need fresh prices, and calls behind a spinner.
pub const BYPASSES: f64 = 0.004;
pub const NO_STORES: f64 = 0.003;
pub const MAX_AGES: f64 = 0.01;
pub const MAX_AGE: Duration = Duration::from_hours(1);
pub const DEADLINES: f64 = 0.05;
pub const DEADLINE_SECS: u64 = 20;

// --- vendors -----------------------------------------------------------------------------------

/// Number of integrations (brief). Each has a share of the vendors, by Zipf: a few are large.
pub const INTEGRATIONS: usize = 50;
/// The number of integrations that import once a night instead of sending changes as they happen.
/// Assumption.
pub const NIGHTLY: usize = 30;
/// UTC hours in which imports run: two to five in the morning in the Americas. Assumption.
pub const IMPORT_HOURS: std::ops::Range<u32> = 8..11;
/// Share of its vendors that a nightly import sends again although nothing has changed, as
/// `details_changed`. Assumption: most importers compare, some do not.
pub const RESENT_A_NIGHT: f64 = 0.02;
/// Share of change records that cannot be read. Assumption: one in 2000, half with a key.
pub const UNREADABLE: f64 = 0.0005;

/// One kind of vendor: the number of its vendors in a place, and for each of its changes how often
/// a year it happens to one vendor.
pub struct VendorKind {
    pub name: &'static str,
    pub a_place: u32,
    /// Bookings and cancellations; the share that frees a date is [`FREED`].
    pub availability: f64,
    pub price: f64,
    pub menu: f64,
    pub portfolio: f64,
    pub details: f64,
    /// Share that closes in a year; the same number opens.
    pub closed: f64,
}

/// Assumption: a venue or band takes one wedding a day, so availability changes about as often as
/// it is booked (30 to 60 a year); prices move with the season lists, caterers' and florists' with
/// the market; one in ten to twenty small firms closes in a year (US Bureau of Labor Statistics:
/// about one in ten establishments).
pub const VENDOR_KINDS: [VendorKind; 4] = [
    VendorKind {
        name: "venue",
        a_place: 24,
        availability: 45.0,
        price: 3.0,
        menu: 0.0,
        portfolio: 2.0,
        details: 4.0,
        closed: 0.05,
    },
    VendorKind {
        name: "photographer",
        a_place: 30,
        availability: 35.0,
        price: 3.0,
        menu: 0.0,
        portfolio: 12.0,
        details: 4.0,
        closed: 0.10,
    },
    VendorKind {
        name: "caterer",
        a_place: 18,
        availability: 40.0,
        price: 10.0,
        menu: 8.0,
        portfolio: 2.0,
        details: 4.0,
        closed: 0.10,
    },
    VendorKind {
        name: "florist",
        a_place: 18,
        availability: 40.0,
        price: 26.0,
        menu: 0.0,
        portfolio: 6.0,
        details: 4.0,
        closed: 0.10,
    },
];
/// Share of availability changes that free a date. Assumption: one in eight is cancelled.
pub const FREED: f64 = 0.125;
/// Standard deviation of a price change, in per cent. Assumption: two in three beyond ±2.5 %.
pub const PRICE_SIGMA_PCT: f64 = 6.0;

// --- wedding updates ---------------------------------------------------------------------------

/// Changes of one wedding a year, long before and in the last three months. Assumption: replies
/// come late and often; dates and places rarely move.
pub const WEDDING_CHANGES: [(&str, [f64; 2]); 8] = [
    ("guest_list_changed", [6.0, 90.0]),
    ("guest_count_changed", [3.0, 12.0]),
    ("preferences_changed", [6.0, 6.0]),
    ("budget_changed", [0.5, 0.5]),
    ("style_changed", [0.8, 0.4]),
    ("date_changed", [0.15, 0.08]),
    ("location_changed", [0.05, 0.02]),
    ("cancelled", [0.04, 0.02]),
];

// --- the provider ------------------------------------------------------------------------------

/// Duration of a call, log-normal: median 2.4 s, p99 9.7 s, as small hosted chat models take for
/// some 250 tokens. Assumption.
pub const CALL_MEDIAN_SECS: f64 = 2.4;
pub const CALL_SIGMA: f64 = 0.6;
/// Shares of calls that end badly. Assumption, from public status pages' order of magnitude.
pub const UNAVAILABLE: f64 = 0.003;
pub const RATE_LIMITED: f64 = 0.001;
pub const TIMED_OUT: f64 = 0.0005;
pub const REFUSED: f64 = 0.0005;
pub const TRUNCATED: f64 = 0.002;
/// Incidents a year in which every call fails, and their length. Assumption: 99.9 % availability.
pub const INCIDENTS: usize = 6;
pub const INCIDENT_MINUTES: u64 = 90;
/// Words of an answer, which the mocked provider counts as tokens. Assumption: the topology lets a
/// model use 700 to 1200 tokens, and the model uses a third.
pub const ANSWER_WORDS: usize = 260;
/// Number of the place's vendors that an answer names by id: of the kinds asked for, else of any
/// kind.
pub const NAMED_VENDORS: usize = 3;
/// Share of answers of private and decor types that name a vendor. Assumption.
pub const NAMES_ANYWAY: f64 = 0.25;

// --- operation ---------------------------------------------------------------------------------

/// Days between two releases. Each restarts every instance, which empties the memory layer but not
/// the disk. Assumption.
pub const RELEASE_EVERY_DAYS: u32 = 7;
/// Milliseconds of a look-up in Redis, whose mock takes no time otherwise. Assumption: one round
/// trip in a zone.
pub const REDIS_MILLIS: u64 = 1;
