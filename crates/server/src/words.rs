//! Enums whose values are words that people write: any case, with or without separators.

/// The letters and digits of a word in lower case: what two spellings of it have in common.
pub(crate) fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

/// Makes an enum of words. It is written as the word given, and read in any spelling of it.
macro_rules! words {
    ($(#[doc = $doc:literal])* $vis:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        $vis enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of their definition.
            $vis const ALL: &[$name] = &[$($name::$variant),*];

            /// The word, in its usual spelling.
            $vis fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            /// Takes the word in any case, with or without `-` and `_`.
            fn from_str(text: &str) -> Result<Self, String> {
                let plain = crate::words::plain(text);
                let mut all = Self::ALL.iter().copied();
                all.find(|one| crate::words::plain(one.word()) == plain).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|one| one.word()).collect();
                    format!("{text:?} is none of {}", words.join(", "))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        // Not derived: utoipa does not see through a name that a macro was given.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some([$($doc.trim()),*].join(" ")))
                    .enum_values(Some(Self::ALL.iter().map(|one| one.word())))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use words;
