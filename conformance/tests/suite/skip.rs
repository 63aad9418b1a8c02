//! `skip.toml`: which cases do not run, and why.

use serde::Deserialize;

use crate::Case;

#[derive(Deserialize)]
struct File {
    skip: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    reason: String,
    /// The test that has the cases; the suite when it is left out.
    of: Option<String>,
    /// Of names, where `*` is any text.
    patterns: Vec<String>,
    /// How many cases each pattern has matched.
    #[serde(skip)]
    matched: Vec<usize>,
}

/// The entries, and what they have matched so far.
pub(crate) struct Skips(Vec<Entry>);

impl Skips {
    /// Those of one test.
    pub(crate) fn of(test: &str) -> Result<Self, String> {
        let text = include_str!("../../skip.toml");
        let mut file: File = toml::from_str(text).map_err(|reason| reason.to_string())?;
        file.skip.retain(|entry| entry.of.as_deref().unwrap_or("suite") == test);
        for entry in &mut file.skip {
            entry.matched = vec![0; entry.patterns.len()];
        }
        Ok(Skips(file.skip))
    }

    /// Whether a case of this name is not to run.
    pub(crate) fn matches(&mut self, name: &str) -> bool {
        let mut skipped = false;
        for entry in &mut self.0 {
            for (pattern, matched) in entry.patterns.iter().zip(&mut entry.matched) {
                let matches = is_match(pattern, name);
                *matched += usize::from(matches);
                skipped |= matches;
            }
        }
        skipped
    }

    pub(crate) fn remove_from(&mut self, mut cases: Vec<Case>) -> Vec<Case> {
        cases.retain(|case| !self.matches(&case.name));
        cases
    }

    /// Says what was left out.
    ///
    /// # Errors
    /// When a pattern has matched nothing: what it was for is gone.
    pub(crate) fn finish(self, quiet: bool) -> Result<(), String> {
        for entry in self.0 {
            if let Some(place) = entry.matched.iter().position(|&matched| matched == 0) {
                return Err(format!("no case is called {}", entry.patterns[place]));
            }
            if !quiet {
                eprintln!("left out {} cases: {}", entry.matched.iter().sum::<usize>(), entry.reason);
            }
        }
        Ok(())
    }
}

fn is_match(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, pattern)) => name
            .strip_prefix(start)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && is_match(pattern, &rest[at..]))),
    }
}
