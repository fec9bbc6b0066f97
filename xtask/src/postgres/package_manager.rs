//! The system's package manager: how PostgreSQL is installed here.

/// A package manager that has PostgreSQL's server programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackageManager {
    Apk,
    Apt,
    Brew,
    Dnf,
    Pacman,
}

impl PackageManager {
    /// Returns the one this system has; `present` says whether a program is there.
    pub(crate) fn detect(present: impl Fn(&str) -> bool) -> Option<Self> {
        // Homebrew last: on Linux it is a guest.
        [Self::Apt, Self::Dnf, Self::Pacman, Self::Apk, Self::Brew]
            .into_iter()
            .find(|manager| present(manager.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Apt => "apt-get",
            Self::Brew => "brew",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
        }
    }

    /// Returns whether root must run it. Homebrew refuses to run as root.
    pub(crate) fn needs_root(self) -> bool {
        self != Self::Brew
    }

    /// Returns what a person would type to install PostgreSQL.
    pub(crate) fn by_hand(self) -> &'static str {
        match self {
            Self::Apk => "apk add postgresql postgresql-client",
            Self::Apt => "apt-get install postgresql",
            Self::Brew => "brew install postgresql@17",
            Self::Dnf => "dnf install postgresql-server",
            Self::Pacman => "pacman -S postgresql",
        }
    }

    /// Returns the shell script that installs it; the script asks nothing and starts no server.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Apk => "apk add --no-cache postgresql postgresql-client",
            Self::Apt => include_str!("apt.sh"),
            Self::Brew => "brew install postgresql@17",
            Self::Dnf => "dnf install --assumeyes postgresql-server",
            Self::Pacman => "pacman --sync --needed --noconfirm postgresql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_package_manager_comes_first() {
        let on = |programs: &'static [&'static str]| PackageManager::detect(|program| programs.contains(&program));
        assert_eq!(on(&["brew", "apt-get"]), Some(PackageManager::Apt));
        assert_eq!(on(&["brew"]), Some(PackageManager::Brew));
        assert_eq!(on(&["dnf"]), Some(PackageManager::Dnf));
        assert_eq!(on(&["emerge"]), None);
    }
}
