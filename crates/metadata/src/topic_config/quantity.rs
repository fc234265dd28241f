//! Durations and sizes as people write them.

pub(super) const DAY_MS: u64 = 86_400_000;

/// Longest units first: a whole number of the first that fits is what is printed.
const UNITS: [(&str, u64); 5] =
    [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of a text such as `7d`, `1h30m` or `250ms`; none if it is not a duration.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut last_scale = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |length| digits + length);
        let unit = &rest[digits..unit_end];
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        // `30m1h` is more likely a slip than a sum.
        if *scale >= last_scale {
            return None;
        }
        last_scale = *scale;
        total = total.checked_add(number.checked_mul(*scale)?)?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

/// The shortest text that [`parse_duration`] reads back.
pub(super) fn print_duration(ms: u64) -> String {
    let whole = UNITS.iter().find(|(_, scale)| ms >= *scale && ms.is_multiple_of(*scale));
    match whole {
        Some((unit, scale)) => format!("{}{unit}", ms / scale),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("7d", Some(7 * DAY_MS)),
            ("24h", Some(DAY_MS)),
            ("30s", Some(30_000)),
            ("250ms", Some(250)),
            ("1h30m", Some(5_400_000)),
            ("1d12h30m15s5ms", Some(131_415_005)),
            (" 5m ", Some(300_000)),
            ("0s", Some(0)),
            ("", None),
            ("d", None),
            ("30", None),
            ("-1s", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1h1h", None),
            ("7 d", None),
            ("7D", None),
            ("7days", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), ms, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_is_read_back(ms in any::<u64>()) {
            prop_assert_eq!(parse_duration(&print_duration(ms)), Some(ms));
        }
    }
}
