//! Where reading starts and ends, as code says it and as people type it.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use quipu_types::TimestampMs;

/// The first record to read, in each partition.
///
/// ```
/// use quipu_client::Start;
///
/// assert_eq!("start".parse(), Ok(Start::Earliest));
/// assert_eq!("-10".parse(), Ok(Start::Last(10)));
/// assert!("@2026-01-01T00:00Z".parse::<Start>().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// `start`: the first kept record.
    #[default]
    Earliest,
    /// `end`: the next record to be written.
    Latest,
    /// `42`: this offset.
    Offset(u64),
    /// `-10`: so many records before the end, or the first kept.
    Last(u64),
    /// `@2026-01-01T00:00Z`, `@2026-01-01` (UTC), `@1767225600000`: the first record at or after
    /// this time; the end when there is none.
    Timestamp(TimestampMs),
    /// `@-1h`: as a time, so long before now.
    Ago(Duration),
}

/// Where reading ends, in each partition: the record named is not read any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// `never`: waits for further records.
    #[default]
    Never,
    /// `end`: the end of the partition at the moment reading starts.
    Latest,
    /// `42`: before this offset; waits until it is reached.
    Offset(u64),
    /// `@2026-02-01T00:00Z`: before the first record at or after this time, or at the end of the
    /// partition when there is none as reading starts.
    Timestamp(TimestampMs),
    /// `@-1h`: as a time, so long before now.
    Ago(Duration),
}

/// A text that names no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a position: {reason}; {allowed}")]
pub struct InvalidPosition {
    text: String,
    reason: String,
    allowed: &'static str,
}

const STARTS: &str = "use start, end, an offset (42), a count from the end (-10), \
                      a time (@2026-01-01T00:00Z) or an age (@-1h)";
const ENDS: &str = "use end, never, an offset (42), a time (@2026-01-01T00:00Z) or an age (@-1h)";

impl FromStr for Start {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.trim() {
            "start" | "earliest" => Ok(Self::Earliest),
            "end" | "latest" => Ok(Self::Latest),
            trimmed => match (trimmed.strip_prefix('@'), trimmed.strip_prefix('-')) {
                (Some(time), _) => Time::parse(time).map(|time| match time {
                    Time::At(at) => Self::Timestamp(at),
                    Time::Ago(age) => Self::Ago(age),
                }),
                (None, Some(count)) => number(count).map(Self::Last),
                (None, None) => number(trimmed).map(Self::Offset),
            },
        };
        parsed.map_err(|reason| InvalidPosition { text: text.to_owned(), reason, allowed: STARTS })
    }
}

impl FromStr for End {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.trim() {
            "never" => Ok(Self::Never),
            "end" | "latest" => Ok(Self::Latest),
            trimmed => match trimmed.strip_prefix('@') {
                Some(time) => Time::parse(time).map(|time| match time {
                    Time::At(at) => Self::Timestamp(at),
                    Time::Ago(age) => Self::Ago(age),
                }),
                None => number(trimmed).map(Self::Offset),
            },
        };
        parsed.map_err(|reason| InvalidPosition { text: text.to_owned(), reason, allowed: ENDS })
    }
}

impl Start {
    /// The point in time this names, if it names one.
    pub(crate) fn timestamp(self, now: TimestampMs) -> Option<TimestampMs> {
        match self {
            Self::Timestamp(at) => Some(at),
            Self::Ago(age) => Some(before(now, age)),
            Self::Earliest | Self::Latest | Self::Offset(_) | Self::Last(_) => None,
        }
    }
}

impl End {
    /// The point in time this names, if it names one.
    pub(crate) fn timestamp(self, now: TimestampMs) -> Option<TimestampMs> {
        match self {
            Self::Timestamp(at) => Some(at),
            Self::Ago(age) => Some(before(now, age)),
            Self::Never | Self::Latest | Self::Offset(_) => None,
        }
    }
}

fn before(now: TimestampMs, age: Duration) -> TimestampMs {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    TimestampMs::new(now.get().saturating_sub(age).max(0))
}

fn number(text: &str) -> Result<u64, String> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits {
        return Err("it is neither a word, a number nor a time".to_owned());
    }
    text.parse().map_err(|_| "the number is too large".to_owned())
}

enum Time {
    At(TimestampMs),
    Ago(Duration),
}

impl Time {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(age) = text.strip_prefix('-') {
            return Self::age(age).map(Self::Ago);
        }
        if let Ok(ms) = text.parse::<i64>() {
            return Ok(Self::At(TimestampMs::new(ms.max(0))));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(TimestampMs::new(at.as_millisecond())));
        }
        let date = text.parse::<Date>().ok().filter(|_| !text.contains(['T', ' ']));
        match date.and_then(|date| date.to_zoned(TimeZone::UTC).ok()) {
            Some(midnight) => Ok(Self::At(TimestampMs::new(midnight.timestamp().as_millisecond()))),
            None => Err("the time needs a date and a zone, as 2026-01-01T00:00Z".to_owned()),
        }
    }

    fn age(text: &str) -> Result<Duration, String> {
        let invalid = || "the age needs a unit, as 90s, 5m, 1h or 2d".to_owned();
        let span: Span = text.parse().map_err(|_| invalid())?;
        let days = SpanRelativeTo::days_are_24_hours();
        let seconds = span.total((Unit::Second, days)).map_err(|_| invalid())?;
        Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_YEAR: TimestampMs = TimestampMs::new(1_767_225_600_000);

    #[test]
    fn starts_are_read_as_people_type_them() {
        let cases = [
            ("start", Start::Earliest),
            ("end", Start::Latest),
            ("42", Start::Offset(42)),
            ("0", Start::Offset(0)),
            ("-10", Start::Last(10)),
            ("@2026-01-01T00:00Z", Start::Timestamp(NEW_YEAR)),
            ("@2026-01-01T00:00:00Z", Start::Timestamp(NEW_YEAR)),
            ("@2026-01-01T01:00:00.000+01:00", Start::Timestamp(NEW_YEAR)),
            ("@2026-01-01", Start::Timestamp(NEW_YEAR)),
            ("@1767225600000", Start::Timestamp(NEW_YEAR)),
            ("@-1h", Start::Ago(Duration::from_secs(3_600))),
            ("@-1h30m", Start::Ago(Duration::from_secs(5_400))),
            ("@-2d", Start::Ago(Duration::from_secs(172_800))),
            ("@-90s", Start::Ago(Duration::from_secs(90))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn ends_are_read_as_people_type_them() {
        let cases = [
            ("end", End::Latest),
            ("never", End::Never),
            ("42", End::Offset(42)),
            ("@2026-01-01T00:00Z", End::Timestamp(NEW_YEAR)),
            ("@-1h", End::Ago(Duration::from_secs(3_600))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_position_is_refused_with_what_is_allowed() {
        let texts = [
            "",
            "soon",
            "--3",
            "-",
            "+5",
            "1.5",
            "@",
            "@tomorrow",
            "@-",
            "@-5",
            "@2026-01-01T00:00",
            "99999999999999999999",
        ];
        for text in texts {
            let refused = text.parse::<Start>().expect_err(text).to_string();
            assert!(refused.contains("(@-1h)"), "{refused}");
        }
        assert!("-10".parse::<End>().is_err());
        assert!("start".parse::<End>().is_err());
    }

    #[test]
    fn an_age_counts_back_from_now_but_not_before_1970() {
        let hour = Duration::from_secs(3_600);
        let now = TimestampMs::new(10_000_000);
        assert_eq!(Start::Ago(hour).timestamp(now), Some(TimestampMs::new(6_400_000)));
        assert_eq!(End::Ago(hour * 9_999).timestamp(now), Some(TimestampMs::new(0)));
        assert_eq!(Start::Last(3).timestamp(now), None);
    }
}
