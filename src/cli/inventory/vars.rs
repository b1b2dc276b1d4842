//! The variables of inventories that say how a host is reached.

/// A variable that is honoured, or whose neglect the user is told about. An index of [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Var(u8);

/// What the tool does with a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Honoured,
    /// It changes how Ansible connects, and is not honoured; this text says what to do instead.
    Ignored(&'static str),
}

const PASSWORD: &str = "a password is not taken from an inventory; --ask-pass asks for the one of ssh";
const BECOME_PASSWORD: &str = "a password is not taken from an inventory; -K asks for it";
const SSH: &str = "write it to ~/.ssh/config, or pass it with -o";

/// All variables. Of several names for the same setting, the later one wins, as in Ansible.
const NAMES: [(&str, Use); 32] = [
    ("ansible_host", Use::Honoured),
    ("ansible_ssh_host", Use::Honoured),
    ("ansible_port", Use::Honoured),
    ("ansible_ssh_port", Use::Honoured),
    ("ansible_user", Use::Honoured),
    ("ansible_ssh_user", Use::Honoured),
    ("ansible_private_key_file", Use::Honoured),
    ("ansible_ssh_private_key_file", Use::Honoured),
    ("ansible_ssh_args", Use::Honoured),
    ("ansible_ssh_common_args", Use::Honoured),
    ("ansible_ssh_extra_args", Use::Honoured),
    ("ansible_connection", Use::Honoured),
    ("ansible_become", Use::Honoured),
    ("ansible_become_user", Use::Honoured),
    ("ansible_become_method", Use::Honoured),
    ("offshoot_path", Use::Honoured),
    ("ansible_password", Use::Ignored(PASSWORD)),
    ("ansible_ssh_pass", Use::Ignored(PASSWORD)),
    ("ansible_ssh_password", Use::Ignored(PASSWORD)),
    ("ansible_become_password", Use::Ignored(BECOME_PASSWORD)),
    ("ansible_become_pass", Use::Ignored(BECOME_PASSWORD)),
    ("ansible_sudo_pass", Use::Ignored(BECOME_PASSWORD)),
    ("ansible_su_pass", Use::Ignored(BECOME_PASSWORD)),
    ("ansible_become_exe", Use::Ignored("sudo, su and doas are found by PATH")),
    ("ansible_become_flags", Use::Ignored("sudo, su and doas get the flags of this tool")),
    ("ansible_sudo_user", Use::Ignored("write ansible_become_user")),
    ("ansible_su_user", Use::Ignored("write ansible_become_user")),
    ("ansible_ssh_executable", Use::Ignored("ssh is found by PATH")),
    ("ansible_ssh_private_key", Use::Ignored(SSH)),
    ("ansible_ssh_pkcs11_provider", Use::Ignored(SSH)),
    ("ansible_docker_extra_args", Use::Ignored("docker gets the arguments of this tool")),
    ("ansible_chroot_exe", Use::Ignored("there is no such method")),
];

impl Var {
    pub(crate) const HOST: [Self; 2] = [Self(0), Self(1)];
    pub(crate) const PORT: [Self; 2] = [Self(2), Self(3)];
    pub(crate) const USER: [Self; 2] = [Self(4), Self(5)];
    pub(crate) const KEY: [Self; 2] = [Self(6), Self(7)];
    pub(crate) const SSH_ARGS: [Self; 3] = [Self(8), Self(9), Self(10)];
    pub(crate) const CONNECTION: [Self; 1] = [Self(11)];
    pub(crate) const BECOME: [Self; 1] = [Self(12)];
    pub(crate) const BECOME_USER: [Self; 1] = [Self(13)];
    pub(crate) const BECOME_METHOD: [Self; 1] = [Self(14)];
    pub(crate) const PATH: [Self; 1] = [Self(15)];

    /// The variable with this name; `None` for all that have nothing to do with the way to a host.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().position(|(known, _)| *known == name).map(|nth| Self(nth as u8))
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).map_or("", |(name, _)| name)
    }

    /// What to do instead, if the variable is not honoured.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match NAMES.get(usize::from(self.0))?.1 {
            Use::Honoured => None,
            Use::Ignored(advice) => Some(advice),
        }
    }
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    /// Encrypted by `ansible-vault`.
    Vault,
    /// A list, a mapping or nothing, which no honoured variable has.
    Other,
}

/// Variables of a host or group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vars(Vec<(Var, Value)>);

impl Vars {
    pub(crate) fn set(&mut self, var: Var, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == var) {
            Some((_, old)) => *old = value,
            None => self.0.push((var, value)),
        }
    }

    /// Adds the variables of `other`, which win.
    pub(crate) fn override_by(&mut self, other: &Self) {
        other.0.iter().for_each(|(var, value)| self.set(*var, value.clone()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Var, &Value)> {
        self.0.iter().map(|(var, value)| (*var, value))
    }

    /// The variable among these that counts, and its value.
    pub(crate) fn last_of(&self, vars: &[Var]) -> Option<(Var, &Value)> {
        vars.iter().rev().find_map(|wanted| self.iter().find(|(var, _)| var == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_name_and_the_later_value_win() {
        let mut vars = Vars::default();
        let text = |text: &str| Value::Text(text.into());
        vars.set(Var::by_name("ansible_ssh_user").unwrap(), text("old"));
        vars.set(Var::by_name("ansible_user").unwrap(), text("new"));
        assert_eq!(vars.last_of(&Var::USER).unwrap().1, &text("old"));
        let mut other = Vars::default();
        other.set(Var::by_name("ansible_ssh_user").unwrap(), text("host's"));
        vars.override_by(&other);
        assert_eq!(vars.last_of(&Var::USER).unwrap().1, &text("host's"));
        assert_eq!(vars.last_of(&Var::PORT), None);
        assert_eq!(Var::by_name("http_port"), None);
    }

    #[test]
    fn each_constant_is_the_variable_that_it_is_called_after() {
        for (vars, names) in [
            (&Var::HOST[..], &["ansible_host", "ansible_ssh_host"][..]),
            (&Var::PORT, &["ansible_port", "ansible_ssh_port"]),
            (&Var::USER, &["ansible_user", "ansible_ssh_user"]),
            (&Var::KEY, &["ansible_private_key_file", "ansible_ssh_private_key_file"]),
            (&Var::SSH_ARGS, &["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"]),
            (&Var::CONNECTION, &["ansible_connection"]),
            (&Var::BECOME, &["ansible_become"]),
            (&Var::BECOME_USER, &["ansible_become_user"]),
            (&Var::BECOME_METHOD, &["ansible_become_method"]),
            (&Var::PATH, &["offshoot_path"]),
        ] {
            assert_eq!(vars.iter().map(|var| var.name()).collect::<Vec<_>>(), names);
        }
        assert!(NAMES.iter().all(|(name, _)| Var::by_name(name).is_some_and(|var| var.name() == *name)));
    }
}
