//! What a server's error code means for a retry.

use pghaul_stage::Kind;

/// How to treat an error with this five-character code.
///
/// Source: PostgreSQL's manual, appendix A.
pub fn kind(code: &str) -> Kind {
    match code {
        // A full disk stays full; a protocol violation repeats itself.
        "53100" => Kind::Permanent,
        "08P01" => Kind::Protocol,
        "55P03" | "55006" | "57014" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => {
            Kind::Transient
        }
        _ => match code.get(..2) {
            Some("08" | "40" | "53") => Kind::Transient,
            _ => Kind::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_follow_the_class() {
        for code in [
            "08006", "40001", "40P01", "53300", "55P03", "55006", "57014", "57P01", "57P05",
        ] {
            assert_eq!(kind(code), Kind::Transient, "{code}");
        }
        for code in [
            "53100", "23505", "28P01", "3D000", "42P01", "57000", "", "é",
        ] {
            assert_eq!(kind(code), Kind::Permanent, "{code}");
        }
        assert_eq!(kind("08P01"), Kind::Protocol);
    }
}
