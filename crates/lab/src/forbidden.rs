//! Why the system refuses namespaces to an ordinary user, and what to do.

use std::fmt;
use std::io;

use guywire_net::namespace::read_sysctl;

/// The settings that forbid user namespaces, as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `kernel.unprivileged_userns_clone` (Debian): 0 forbids.
    pub unprivileged_userns_clone: Option<String>,
    /// `user.max_user_namespaces`: 0 forbids.
    pub max_user_namespaces: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu): 1 forbids.
    pub apparmor_restrict_unprivileged_userns: Option<String>,
}

impl Limits {
    /// Reads them; what a kernel does not have stays unknown.
    pub fn read() -> Limits {
        Limits {
            unprivileged_userns_clone: read_sysctl("kernel.unprivileged_userns_clone").ok(),
            max_user_namespaces: read_sysctl("user.max_user_namespaces").ok(),
            apparmor_restrict_unprivileged_userns: read_sysctl(
                "kernel.apparmor_restrict_unprivileged_userns",
            )
            .ok(),
        }
    }

    /// The commands that would lift what forbids.
    fn remedies(&self) -> Vec<&'static str> {
        let is = |setting: &Option<String>, value: &str| setting.as_deref() == Some(value);
        let mut remedies = Vec::new();
        if is(&self.unprivileged_userns_clone, "0") {
            remedies.push("sudo sysctl kernel.unprivileged_userns_clone=1");
        }
        if is(&self.max_user_namespaces, "0") {
            remedies.push("sudo sysctl user.max_user_namespaces=10000");
        }
        if is(&self.apparmor_restrict_unprivileged_userns, "1") {
            remedies.push("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0");
        }
        remedies
    }
}

/// Namespaces were refused.
#[derive(Debug)]
pub struct Forbidden {
    /// What was tried, as in "make a user namespace".
    pub action: &'static str,
    /// What the kernel said.
    pub reason: io::Error,
    /// The settings at that time.
    pub limits: Limits,
}

impl std::error::Error for Forbidden {}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.action, self.reason)?;
        let remedies = self.limits.remedies();
        if remedies.is_empty() {
            return f.write_str(
                "; the lab needs user namespaces (no setting known to forbid them does so here, \
                 so a container's or a security module's rules may): run it as root",
            );
        }
        f.write_str("; this system forbids user namespaces. Allow them with")?;
        for remedy in remedies {
            write!(f, "\n  {remedy}")?;
        }
        f.write_str("\nor run the lab as root")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(limits: Limits) -> String {
        let reason = io::Error::from_raw_os_error(1);
        Forbidden {
            action: "make a user namespace",
            reason,
            limits,
        }
        .to_string()
    }

    #[test]
    fn each_setting_has_its_remedy() {
        let debian = Limits {
            unprivileged_userns_clone: Some("0".into()),
            ..Limits::default()
        };
        assert!(text(debian).contains("sudo sysctl kernel.unprivileged_userns_clone=1"));
        let none = Limits {
            max_user_namespaces: Some("0".into()),
            ..Limits::default()
        };
        assert!(text(none).contains("sudo sysctl user.max_user_namespaces=10000"));
        let ubuntu = Limits {
            apparmor_restrict_unprivileged_userns: Some("1".into()),
            ..Limits::default()
        };
        assert!(
            text(ubuntu).contains("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0")
        );
    }

    #[test]
    fn settings_that_allow_are_not_blamed() {
        let allowing = Limits {
            unprivileged_userns_clone: Some("1".into()),
            max_user_namespaces: Some("63000".into()),
            apparmor_restrict_unprivileged_userns: Some("0".into()),
        };
        let text = text(allowing);
        assert!(
            !text.contains("sysctl") && text.contains("run it as root"),
            "{text}"
        );
    }
}
