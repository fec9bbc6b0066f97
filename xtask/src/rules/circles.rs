//! No circles: the modules of a crate import each other in one direction.
//!
//! A module is a file below `src`. It imports another one if a path in its code leads there, in a `use` line or elsewhere.
//! Such a path begins with `crate`, `self`, `super`, the name of a child, or a name from a `use` line. If the file found has
//! the next name from a `use` line of its own, the path leads on to the file that defines it. A child's
//! `use super::Name` imports the parent's file only if `Name` is defined there.
//!
//! `mod child;` is not an import, and neither is `pub use child::Name` in a file above the child, unless that file's own
//! code uses `Name`. Code under `#[cfg(test)]` does not count.

mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

use self::tokens::Code;

/// The path of a module in its crate: `crate::a::b` is `["a", "b"]`.
type Module = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Returns a line for every circle between the files of the crate with this `src` folder, and for every circle between its
/// rooms. A room is a module at the root of the crate with all that is below it.
pub(super) fn check_crate(src: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    read(src, &Vec::new(), &mut files)?;
    let imports = imports(&files);
    let rooms = circles(&between_rooms(&imports)).into_iter().map(|circle| format!("rooms {circle}"));
    Ok(circles(&imports).into_iter().chain(rooms).collect())
}

fn read(folder: &Path, module: &Module, files: &mut BTreeMap<Module, Code>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let inner = || module.iter().cloned().chain([name.to_owned()]).collect();
        if path.is_dir() {
            read(&path, &inner(), files)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let module = if ["lib", "main", "mod"].contains(&name) { module.clone() } else { inner() };
            files.insert(module, Code::parse(&text));
        }
    }
    Ok(())
}

fn imports(files: &BTreeMap<Module, Code>) -> Imports {
    let is_test = |module: &Module| {
        (0..module.len())
            .any(|depth| files.get(&module[..depth]).is_some_and(|code| code.tests.contains(&module[depth])))
    };
    let mut imports = Imports::new();
    for (module, code) in files.iter().filter(|(module, _)| !is_test(module)) {
        let targets = imports.entry(module.clone()).or_default();
        for import in &code.uses {
            if let Some(target) = resolve(files, module, &import.path, MAX_STEPS) {
                let is_door = import.is_public && target.starts_with(module) && !code.words.contains(&import.name);
                if !is_door {
                    targets.insert(target);
                }
            }
        }
        targets.extend(code.paths.iter().filter_map(|path| resolve(files, module, path, MAX_STEPS)));
        targets.remove(module);
    }
    imports
}

/// Returns the module in which what the path names is defined; `None` outside of this crate.
fn resolve(files: &BTreeMap<Module, Code>, from: &Module, path: &[String], steps: usize) -> Option<Module> {
    let steps = steps.checked_sub(1)?;
    let (first, mut rest) = path.split_first()?;
    let mut module = match first.as_str() {
        "crate" => Module::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        name => {
            let child = [&from[..], &[name.to_owned()]].concat();
            if !files.contains_key(&child) {
                let import = files.get(from)?.uses.iter().find(|import| import.name == name)?;
                let is_itself = import.path.first().is_some_and(|first| first == name);
                return (!is_itself).then(|| resolve(files, from, &[&import.path, rest].concat(), steps))?;
            }
            child
        }
    };
    while let Some((next, after)) = rest.split_first() {
        let child = [&module[..], std::slice::from_ref(next)].concat();
        if next == "super" {
            module.pop();
        } else if files.contains_key(&child) {
            module = child;
        } else {
            let brought = files.get(&module)?.uses.iter().find(|import| import.name == *next);
            let onward = brought.and_then(|import| resolve(files, &module, &[&import.path, after].concat(), steps));
            return Some(onward.unwrap_or(module));
        }
        rest = after;
    }
    Some(module)
}

/// Returns the rooms that each room imports. The root belongs to no room: it has doors to all of them.
fn between_rooms(imports: &Imports) -> Imports {
    let mut rooms = Imports::new();
    for (module, targets) in imports.iter().filter(|(module, _)| !module.is_empty()) {
        let others = targets.iter().filter(|target| !target.is_empty() && target[0] != module[0]);
        rooms.entry(module[..1].to_vec()).or_default().extend(others.map(|target| target[..1].to_vec()));
    }
    rooms
}

/// Returns the shortest circle through the first module of each group whose modules all reach each other.
fn circles(imports: &Imports) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for module in imports.keys() {
        let Some(circle) = shortest_circle(imports, module) else { continue };
        if !circle.iter().any(|module| seen.contains(module)) {
            let names = circle.iter().chain([module]).map(name);
            circles.push(names.collect::<Vec<_>>().join(" -> "));
        }
        seen.extend(circle);
    }
    circles
}

fn name(module: &Module) -> String {
    if module.is_empty() { "crate".to_owned() } else { module.join("::") }
}

/// Returns the modules of the shortest circle through this one, beginning with it.
fn shortest_circle(imports: &Imports, start: &Module) -> Option<Vec<Module>> {
    let mut ways = vec![vec![start.clone()]];
    let mut reached = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
                if next == start {
                    return Some(way);
                }
                if reached.insert(next) {
                    longer.push(way.iter().chain([next]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}

/// A path leads on from one `use` line to the next; so many mean that they lead in a circle.
const MAX_STEPS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a crate; `lib` is its root.
    fn parse(files: &[(&str, &str)]) -> BTreeMap<Module, Code> {
        let module = |name: &str| match name {
            "lib" => Module::new(),
            name => name.split('/').map(str::to_owned).collect(),
        };
        files.iter().map(|(name, text)| (module(name), Code::parse(text))).collect()
    }

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        circles(&imports(&parse(files)))
    }

    #[test]
    fn one_direction_is_fine() {
        let a = "use std::fmt;\nuse crate::b::B;\npub struct A(B);";
        assert!(check(&[("lib", "mod a;\nmod b;"), ("a", a), ("b", "pub struct B;")]).is_empty());
    }

    #[test]
    fn mutual_imports_are_a_circle() {
        let files = [
            ("lib", "mod a;\nmod b;\nmod c;"),
            ("a", "use crate::b::B;"),
            ("b", "use super::c::{self, C};"),
            ("c", "use crate::{\n    x,\n    a::{A as Other},\n};"),
        ];
        assert_eq!(check(&files), ["a -> b -> c -> a"]);
    }

    #[test]
    fn paths_in_code_are_imports() {
        let files = [("lib", ""), ("a", "fn f() { crate::b::g() }"), ("b", "use crate::a;\nfn g() { a::f() }")];
        assert_eq!(check(&files), ["a -> b -> a"]);
    }

    #[test]
    fn reexports_hide_no_circle() {
        let lib = "mod a;\nmod b;\npub use a::A;\npub use b::B;";
        let files = [("lib", lib), ("a", "use crate::B;"), ("b", "use crate::A;")];
        assert_eq!(check(&files), ["a -> b -> a"]);
    }

    #[test]
    fn parents_may_reexport_children() {
        let child = "use super::Name;\npub struct Child(Name);";
        let parent = "mod child;\npub use self::child::Child;\npub struct Name;";
        assert!(check(&[("lib", "mod p;"), ("p", parent), ("p/child", child)]).is_empty());
        let user = format!("{parent}\nfn f() -> Child {{}}");
        assert_eq!(check(&[("lib", "mod p;"), ("p", &user), ("p/child", child)]), ["p -> p::child -> p"]);
    }

    #[test]
    fn siblings_meet_through_their_parent() {
        let parent = "mod one;\nmod two;\nuse self::one::One;\npub use self::two::Two;";
        let one = "use super::Two;";
        assert!(check(&[("p", parent), ("p/one", one), ("p/two", "pub struct Two;")]).is_empty());
        assert_eq!(
            check(&[("p", parent), ("p/one", one), ("p/two", "use super::One;")]),
            ["p::one -> p::two -> p::one"]
        );
    }

    #[test]
    fn tests_and_comments_do_not_count() {
        let a = "//! See `crate::b`.\nuse crate::b::B; // crate::c\nconst C: &str = \"crate::c::C\";";
        let b = "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}";
        let c = "#[cfg(test)]\nmod tests;\nuse crate::a::A;";
        assert!(
            check(&[("lib", ""), ("a", a), ("b", b), ("c", c), ("c/tests", "use super::*;\nuse crate::c;")]).is_empty()
        );
    }

    #[test]
    fn rooms_may_not_meet_either() {
        let rooms = [("a", "mod w;\nmod x;"), ("b", "mod y;\nmod z;"), ("a/w", ""), ("b/y", "")];
        let files = [&rooms[..], &[("a/x", "use crate::b::y::Y;"), ("b/z", "use crate::a::w::W;")]].concat();
        assert!(check(&files).is_empty());
        assert_eq!(circles(&between_rooms(&imports(&parse(&files)))), ["a -> b -> a"]);
    }
}
