//! HTTPRouteGroups to matches (SMI HTTPRouteGroup v1alpha4), within what a group and its namespace may spend.
//!
//! Every expression is measured, once for each namespace, whatever refers to it. What is over a budget is refused on its own
//! object: a group that is too dear selects nothing, and of a namespace that is too dear in all, the younger groups do not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smilax_core::config::{HeaderMatch, HttpMatch};
use smilax_core::pattern::{Anchors, MOST_OF_GROUP, MOST_OF_NAMESPACE, PatternError, path_fault};

use super::object;
use crate::diagnostic::{Diagnostic, Reason};
use crate::index::{Contents, Settings};
use crate::model::{GroupMatch, Measured, RouteGroup};

/// Most matches in a group, and headers in a match: the definition's numbers, for what is stored from before it had any.
const MAX_MATCHES: usize = 128;
const MAX_HEADERS: usize = 32;

/// What the groups of a namespace select.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The usable matches of each group.
    pub(super) matches: BTreeMap<Arc<str>, Vec<HttpMatch>>,
    /// What every expression in them counts for, in bytes.
    pub(super) sizes: HashMap<String, usize>,
}

impl Groups {
    /// The matches of a group that can be used.
    pub(super) fn usable(&self, group: &str) -> &[HttpMatch] {
        self.matches.get(group).map_or(&[], Vec::as_slice)
    }
}

/// What a group selects, and what its expressions count for.
struct Judged {
    matches: Vec<HttpMatch>,
    sizes: HashMap<String, usize>,
}

/// Judges every group of a namespace, the oldest first. Reports what is wrong with each.
pub(super) fn judge(
    settings: &Settings,
    contents: &Contents,
    diagnostics: &mut BTreeSet<Diagnostic>,
) -> Groups {
    let mut by_age: Vec<&RouteGroup> = contents.groups.values().collect();
    by_age.sort_by(|a, b| (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name)));
    let mut groups = Groups::default();
    let mut size = 0;
    for group in by_age {
        let mut report = |reason, message| {
            diagnostics.insert(Diagnostic {
                object: object("HTTPRouteGroup", &group.meta),
                reason,
                message,
            });
        };
        if size > MOST_OF_NAMESPACE {
            report(Reason::OverBudget, namespace_is_full());
            continue;
        }
        let Some(judged) = judge_group(settings, group, &mut report) else {
            continue;
        };
        let more: usize = judged
            .sizes
            .iter()
            .filter(|(pattern, _)| !groups.sizes.contains_key(*pattern))
            .map(|(_, size)| size)
            .sum();
        size += more;
        if size > MOST_OF_NAMESPACE {
            report(Reason::OverBudget, namespace_is_full());
            continue;
        }
        groups.sizes.extend(judged.sizes);
        groups.matches.insert(group.meta.name.clone(), judged.matches);
    }
    groups
}

/// Measures what judging a group will ask for, and no more than that: what the operator does before it takes a group in,
/// while nobody waits for it.
pub fn measure(settings: &Settings, group: &RouteGroup) -> Measured {
    let mut measured = Measured::default();
    let mut judging = Judging::new(group);
    for one in group.matches.iter().take(MAX_MATCHES) {
        for (_, pattern, anchors) in patterns(settings, one).take(MAX_HEADERS + 1) {
            let measure = judging.measure(pattern, anchors);
            measured.0.insert(anchors.around(pattern), measure);
            if judging.is_over() {
                return measured;
            }
        }
    }
    measured
}

/// What a group selects; `None` when it is refused whole.
fn judge_group(
    settings: &Settings,
    group: &RouteGroup,
    report: &mut impl FnMut(Reason, String),
) -> Option<Judged> {
    if group.matches.is_empty() {
        report(
            Reason::Invalid,
            "spec.matches: it is empty, so the group selects nothing".to_owned(),
        );
    }
    if group.matches.len() > MAX_MATCHES {
        report(
            Reason::OverBudget,
            format!(
                "spec.matches: it has {}, of which a group can have {MAX_MATCHES}, so the group selects nothing; divide \
                 them over several groups",
                group.matches.len()
            ),
        );
        return None;
    }
    let mut judging = Judging::new(group);
    let mut matches = Vec::new();
    for (index, one) in group.matches.iter().enumerate() {
        match judging.judge(settings, one) {
            Ok(_) if let Some(fault) = one.path_regex.as_deref().and_then(path_fault) => report(
                Reason::MatchesNothing,
                format!("spec.matches[{index}].pathRegex: {fault}"),
            ),
            Ok(one) => matches.push(one),
            Err(error) => report(
                Reason::Invalid,
                format!("spec.matches[{index}].{error}; the match selects nothing"),
            ),
        }
        if judging.is_over() {
            report(
                Reason::OverBudget,
                format!(
                    "spec.matches[{index}]: the regular expressions up to here take more than {} KiB when compiled, so the \
                     group selects nothing; write shorter ones, repeat less in them, or divide the matches over several groups",
                    MOST_OF_GROUP / 1024
                ),
            );
            return None;
        }
    }
    Some(Judged {
        matches,
        sizes: judging.sizes,
    })
}

/// A group on its way to matches.
struct Judging<'a> {
    measured: &'a Measured,
    sizes: HashMap<String, usize>,
    size: usize,
}

impl<'a> Judging<'a> {
    fn new(group: &'a RouteGroup) -> Self {
        Self {
            measured: &group.measured,
            sizes: HashMap::new(),
            size: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.size > MOST_OF_GROUP
    }

    fn measure(&mut self, pattern: &str, anchors: Anchors) -> Result<usize, PatternError> {
        let whole = anchors.around(pattern);
        if let Some(&size) = self.sizes.get(&whole) {
            return Ok(size);
        }
        let measure = self.measured.get(&whole, pattern, anchors);
        self.size += measure.as_ref().map_or_else(PatternError::size, |size| *size);
        if let Ok(size) = measure {
            self.sizes.insert(whole, size);
        }
        measure
    }

    /// A match with its anchors, proven to compile within the bounds that the proxy keeps to.
    fn judge(&mut self, settings: &Settings, one: &GroupMatch) -> Result<HttpMatch, String> {
        if one.headers.len() > MAX_HEADERS {
            return Err(format!(
                "headers: it has {}, of which a match can have {MAX_HEADERS}",
                one.headers.len()
            ));
        }
        for (field, pattern, anchors) in patterns(settings, one) {
            if self.is_over() {
                break;
            }
            self.measure(pattern, anchors).map_err(|error| match field {
                Field::Path => format!("pathRegex: {error}"),
                Field::Header(name) => format!("headers.{name}: {error}"),
            })?;
        }
        let (path, header) = anchors(settings);
        let any_method = one.methods.iter().any(|method| method == "*");
        Ok(HttpMatch {
            name: one.name.clone(),
            path: one
                .path_regex
                .as_deref()
                .filter(|pattern| !pattern.is_empty())
                .map(|pattern| path.around(pattern)),
            methods: if any_method {
                Vec::new()
            } else {
                one.methods.clone()
            },
            headers: one
                .headers
                .iter()
                .map(|(name, pattern)| HeaderMatch {
                    name: name.to_ascii_lowercase(),
                    value: header.around(pattern),
                })
                .collect(),
        })
    }
}

enum Field<'a> {
    Path,
    Header(&'a str),
}

/// The expressions of a match, and how they are anchored. An empty path is none.
fn patterns<'a>(
    settings: &Settings,
    one: &'a GroupMatch,
) -> impl Iterator<Item = (Field<'a>, &'a str, Anchors)> {
    let (path, header) = anchors(settings);
    let of_path = one
        .path_regex
        .as_deref()
        .filter(|pattern| !pattern.is_empty())
        .map(move |pattern| (Field::Path, pattern, path));
    let of_headers = one
        .headers
        .iter()
        .map(move |(name, pattern)| (Field::Header(name), pattern.as_str(), header));
    of_path.into_iter().chain(of_headers)
}

/// Of paths, and of headers.
fn anchors(settings: &Settings) -> (Anchors, Anchors) {
    use crate::index::{HeaderRegexMode, PathRegexMode};
    let path = match settings.path_regex_mode {
        PathRegexMode::Prefix => Anchors::Start,
        PathRegexMode::Full => Anchors::Both,
    };
    let header = match settings.header_regex_mode {
        HeaderRegexMode::Full => Anchors::Both,
        HeaderRegexMode::Search => Anchors::None,
    };
    (path, header)
}

fn namespace_is_full() -> String {
    format!(
        "the regular expressions of this and the older groups of the namespace take more than {} MiB when compiled, so this \
         group selects nothing; write shorter ones, or delete groups that are not needed",
        MOST_OF_NAMESPACE / (1024 * 1024)
    )
}
