//! Which file a path asks for.

use super::Refusal;
use crate::address::percent_decode;

/// What is got of a folder.
const INDEX: &str = "index.html";

/// The file below the folder of files that a path means, as it was written, without a query.
///
/// # Errors
/// 400 for a path that is no text; 404 for one that might lead elsewhere: names that begin with `.`, that are empty, or
/// that hold what separates names on some system.
pub(super) fn below(path: &str) -> Result<String, Refusal> {
    let mut names = Vec::new();
    for name in path.split('/').skip(1) {
        names.push(percent_decode(name).map_err(|_| Refusal::new(400, "a path that cannot be decoded"))?);
    }
    if let Some(last) = names.last_mut().filter(|last| last.is_empty()) {
        INDEX.clone_into(last);
    }
    let is_safe = |name: &String| {
        !name.is_empty() && !name.starts_with('.') && !name.contains(|c: char| "/\\:".contains(c) || c.is_control())
    };
    match names.iter().all(is_safe) {
        true => Ok(names.join("/")),
        false => Err(Refusal::new(404, "no such file")),
    }
}
