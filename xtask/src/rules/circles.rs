//! No circles: the modules of a crate import each other in one direction.
//!
//! A module is a file below `src`. It imports another one if a `use` line leads there, or a path in its code that begins with
//! `crate` or `super`. If the file found has the next name from a `use` line of its own, the path leads on to the file that
//! defines it.
//! A child's `use super::Name` imports the parent's file only if `Name` is defined there.
//!
//! `mod child;` is not an import, and neither is `pub use self::child::Name`, unless the file's own code uses `Name`. Code
//! for tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

/// The modules that each module imports, all by their path: `crate::a::b`.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Returns a circle between the files of the crate with this `src` folder, and one between its rooms, if there are any. A room
/// is a module at the root of the crate with all that is below it.
pub(super) fn check_crate(src: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    read(src, "crate", &mut files)?;
    let imports = imports(&files);
    Ok(circle(&imports).into_iter().chain(circle(&between_rooms(&imports))).collect())
}

fn read(folder: &Path, module: &str, files: &mut BTreeMap<String, File>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let inner = format!("{module}::{name}");
        if path.is_dir() {
            read(&path, &inner, files)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let is_root = ["lib", "main", "mod"].contains(&name);
            files.insert(if is_root { module.to_owned() } else { inner }, File::parse(&text));
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct File {
    /// The names that `use` lines bring, each with whether the line is public, and its path.
    uses: Vec<(String, bool, String)>,
    /// All but the `use` lines.
    code: String,
    /// The children that are for tests alone.
    tests: Vec<String>,
}

impl File {
    fn parse(text: &str) -> Self {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<_> = text.lines().filter_map(|line| line.split("//").next()).collect();
        let mut file = Self::default();
        for statement in lines.join("\n").split(';') {
            let item =
                ["use ", "mod "].iter().filter_map(|word| statement.rfind(word)).max().unwrap_or(statement.len());
            let (before, item) = statement.split_at(item);
            let (before, visibility) = before.rsplit_once('\n').unwrap_or(("", before));
            let is_item = visibility.trim().is_empty() || visibility.trim().starts_with("pub");
            match item.split_at_checked(4) {
                Some(("mod ", name)) if before.ends_with("#[cfg(test)]") => file.tests.push(name.to_owned()),
                Some(("use ", tree)) if is_item => {
                    file.code += before;
                    let mut paths = Vec::new();
                    expand("", tree, &mut paths);
                    file.uses.extend(paths.iter().map(|path| {
                        let (path, name) = path.split_once(" as ").unwrap_or((path, last(path)));
                        (name.to_owned(), !visibility.trim().is_empty(), path.to_owned())
                    }));
                }
                _ => file.code += statement,
            }
        }
        file
    }

    /// Returns the path that a `use` line gives to this name.
    fn brings(&self, name: &str) -> Option<&str> {
        self.uses.iter().find(|(brought, ..)| brought == name).map(|(.., path)| path.as_str())
    }

    /// Returns the paths that begin with `crate` or `super` outside of `use` lines and literals.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let starts = ["crate::", "super::"].into_iter().flat_map(|start| self.code.match_indices(start));
        let paths = starts.map(|(start, _)| self.code.split_at(start));
        let paths = paths.filter(|(before, _)| !before.ends_with(['"', '$', ':']));
        paths.filter_map(|(_, path)| path.split(|c| !is_of_word(c) && c != ':').next())
    }
}

/// Adds the paths of a tree such as `a::{b, c as d}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    match tree.trim().trim_end_matches('}').split_once('{') {
        Some((head, _)) => {
            let inner = &tree.trim()[head.len() + 1..tree.trim().len() - 1];
            let mut depth = 0;
            let trees = inner.split(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            trees.for_each(|tree| expand(&format!("{prefix}{head}"), tree, paths));
        }
        None if tree.trim() == "self" => paths.push(prefix.trim_end_matches("::").to_owned()),
        None if tree.trim().is_empty() => {}
        None => paths.push(format!("{prefix}{}", tree.trim())),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn imports(files: &BTreeMap<String, File>) -> Imports {
    let tests: Vec<_> = files
        .iter()
        .flat_map(|(module, file)| file.tests.iter().map(move |test| format!("{module}::{test}")))
        .collect();
    let mut imports = Imports::new();
    for (module, file) in files.iter().filter(|(module, _)| !tests.iter().any(|test| is_in(module, test))) {
        let targets = imports.entry(module.clone()).or_default();
        for (name, is_public, path) in &file.uses {
            if let Some(target) = resolve(files, module, path, MAX_STEPS) {
                let is_used = file.code.split(|c| !is_of_word(c)).any(|word| word == name);
                if !is_public || is_used || !is_in(&target, module) {
                    targets.insert(target);
                }
            }
        }
        targets.extend(file.paths().filter_map(|path| resolve(files, module, path, MAX_STEPS)));
        targets.remove(module);
    }
    imports
}

fn is_in(module: &str, outer: &str) -> bool {
    module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the module in which what the path names is defined; `None` outside of this crate.
fn resolve(files: &BTreeMap<String, File>, from: &str, path: &str, steps: usize) -> Option<String> {
    let parent = |module: &str| module.rsplit_once("::").map(|(parent, _)| parent.to_owned());
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    let mut module = match first {
        "crate" => "crate".to_owned(),
        "self" => from.to_owned(),
        "super" => parent(from)?,
        name => Some(format!("{from}::{name}")).filter(|child| files.contains_key(child))?,
    };
    let mut rest = rest;
    while !rest.is_empty() {
        let (next, after) = rest.split_once("::").unwrap_or((rest, ""));
        let child = format!("{module}::{next}");
        if next == "super" {
            module = parent(&module)?;
        } else if files.contains_key(&child) {
            module = child;
        } else {
            let brought = files.get(&module)?.brings(next).filter(|_| steps > 0);
            return brought.and_then(|path| resolve(files, &module, path, steps - 1)).or(Some(module));
        }
        rest = after;
    }
    Some(module)
}

/// Returns the rooms that each room imports. The root belongs to no room: it has doors to all of them.
fn between_rooms(imports: &Imports) -> Imports {
    let room = |module: &String| module.split("::").nth(1).map(|name| format!("room {name}"));
    let mut rooms = Imports::new();
    for (module, targets) in imports {
        let Some(from) = room(module) else { continue };
        let others = targets.iter().filter_map(room).filter(|other| *other != from);
        rooms.entry(from.clone()).or_default().extend(others);
    }
    rooms
}

/// Returns the first circle found.
fn circle(imports: &Imports) -> Option<String> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| circle_behind(imports, &mut vec![module], &mut done))
}

fn circle_behind<'a>(imports: &'a Imports, way: &mut Vec<&'a str>, done: &mut BTreeSet<&'a str>) -> Option<String> {
    let last = *way.last()?;
    for next in imports.get(last).into_iter().flatten() {
        if let Some(start) = way.iter().position(|module| module == next) {
            return Some(format!("{} -> {next}", way[start..].join(" -> ")));
        }
        if !done.contains(next.as_str()) {
            way.push(next);
            if let Some(circle) = circle_behind(imports, way, done) {
                return Some(circle);
            }
            way.pop();
        }
    }
    done.insert(last);
    None
}

/// A path leads on from one `use` line to the next; so many mean that they lead in a circle.
const MAX_STEPS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a crate; `lib` is its root.
    fn parse(files: &[(&str, &str)]) -> BTreeMap<String, File> {
        let module = |name: &str| match name {
            "lib" => "crate".to_owned(),
            name => format!("crate::{}", name.replace('/', "::")),
        };
        files.iter().map(|(name, text)| (module(name), File::parse(text))).collect()
    }

    fn check(files: &[(&str, &str)]) -> Option<String> {
        circle(&imports(&parse(files))).map(|circle| circle.replace("crate::", ""))
    }

    #[test]
    fn one_direction_is_fine() {
        let a = "use std::fmt;\nuse crate::b::B;\npub struct A(B);";
        assert_eq!(check(&[("lib", "mod a;\nmod b;"), ("a", a), ("b", "pub struct B;")]), None);
    }

    #[test]
    fn mutual_imports_are_a_circle() {
        let files = [
            ("lib", "mod a;\nmod b;\nmod c;"),
            ("a", "use crate::b::B;"),
            ("b", "use super::c::{self, C};"),
            ("c", "use crate::{\n    x,\n    a::{A as Other},\n};"),
        ];
        assert_eq!(check(&files), Some("a -> b -> c -> a".to_owned()));
    }

    #[test]
    fn paths_in_code_are_imports() {
        let files = [("lib", ""), ("a", "fn f() { crate::b::g() }"), ("b", "use crate::a;\nfn g() { a::f() }")];
        assert_eq!(check(&files), Some("a -> b -> a".to_owned()));
    }

    #[test]
    fn reexports_hide_no_circle() {
        let lib = "mod a;\nmod b;\npub use a::A;\npub use b::B;";
        let files = [("lib", lib), ("a", "use crate::B;"), ("b", "use crate::A;")];
        assert_eq!(check(&files), Some("a -> b -> a".to_owned()));
    }

    #[test]
    fn parents_may_reexport_children() {
        let child = "use super::Name;\npub struct Child(Name);";
        let parent = "mod child;\npub use self::child::Child;\npub struct Name;";
        assert_eq!(check(&[("lib", "mod p;"), ("p", parent), ("p/child", child)]), None);
        let user = format!("{parent}\nfn f() -> Child {{}}");
        assert_eq!(
            check(&[("lib", "mod p;"), ("p", &user), ("p/child", child)]),
            Some("p -> p::child -> p".to_owned())
        );
    }

    #[test]
    fn siblings_meet_through_their_parent() {
        let parent = "mod one;\nmod two;\nuse self::one::One;\npub use self::two::Two;";
        let one = "use super::Two;";
        assert_eq!(check(&[("p", parent), ("p/one", one), ("p/two", "pub struct Two;")]), None);
        assert_eq!(
            check(&[("p", parent), ("p/one", one), ("p/two", "use super::One;")]),
            Some("p::one -> p::two -> p::one".to_owned())
        );
    }

    #[test]
    fn tests_and_comments_do_not_count() {
        let a = "//! See `crate::b`.\nuse crate::b::B; // crate::c\nconst C: &str = \"crate::c::C\";";
        let b = "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}";
        let c = "#[cfg(test)]\nmod tests;\nuse crate::a::A;";
        assert_eq!(
            check(&[("lib", ""), ("a", a), ("b", b), ("c", c), ("c/tests", "use super::*;\nuse crate::c;")]),
            None
        );
    }

    #[test]
    fn rooms_may_not_meet_either() {
        let rooms = [("a", "mod w;\nmod x;"), ("b", "mod y;\nmod z;"), ("a/w", ""), ("b/y", "")];
        let files = [&rooms[..], &[("a/x", "use crate::b::y::Y;"), ("b/z", "use crate::a::w::W;")]].concat();
        assert_eq!(check(&files), None);
        let rooms = circle(&between_rooms(&imports(&parse(&files))));
        assert_eq!(rooms, Some("room a -> room b -> room a".to_owned()));
    }
}
