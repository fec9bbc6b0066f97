//! The rights that a package manager runs with.

use std::io::{IsTerminal, stderr, stdin};
use std::process::{Command, Stdio};

use super::package_manager::PackageManager;

/// How to run a package manager so that it may install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// With the rights of this process.
    Own,
    /// Through sudo, without a password.
    Sudo,
    /// Through sudo, which asks the user at the terminal for a password.
    SudoWithPassword,
}

impl Privilege {
    /// Returns the least rights that suffice; `None` if this user cannot have them.
    pub(crate) fn for_installing(manager: PackageManager) -> Option<Self> {
        if !manager.needs_root() {
            return Some(Self::Own);
        }
        Self::for_root(&User {
            is_root: succeeds("sh", &["-c", r#"[ "$(id -u)" = 0 ]"#]),
            has_sudo: succeeds("sudo", &["-V"]),
            sudo_is_silent: succeeds("sudo", &["-n", "true"]),
            is_present: stdin().is_terminal() && stderr().is_terminal(),
        })
    }

    fn for_root(user: &User) -> Option<Self> {
        if user.is_root {
            Some(Self::Own)
        } else if user.sudo_is_silent {
            Some(Self::Sudo)
        } else if user.has_sudo && user.is_present {
            Some(Self::SudoWithPassword)
        } else {
            None
        }
    }
}

/// The user that runs this program.
#[derive(Debug, Default)]
struct User {
    is_root: bool,
    has_sudo: bool,
    /// Whether sudo works without a password.
    sudo_is_silent: bool,
    /// Whether the user sits at a terminal and can answer.
    is_present: bool,
}

/// Runs the program, and returns whether it succeeded; its output is dropped.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_is_used_if_it_works() {
        let user = User::default;
        let table = [
            (user(), None),
            (User { is_root: true, ..user() }, Some(Privilege::Own)),
            (User { has_sudo: true, sudo_is_silent: true, ..user() }, Some(Privilege::Sudo)),
            (User { has_sudo: true, is_present: true, ..user() }, Some(Privilege::SudoWithPassword)),
            (User { has_sudo: true, ..user() }, None),
            (User { is_present: true, ..user() }, None),
        ];
        for (user, expected) in table {
            assert_eq!(Privilege::for_root(&user), expected, "{user:?}");
        }
    }

    #[test]
    fn homebrew_needs_no_root() {
        assert_eq!(Privilege::for_installing(PackageManager::Brew), Some(Privilege::Own));
    }
}
