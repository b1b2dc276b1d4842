use std::path::Path;

use super::*;
use crate::cli::args::{Color, ToolCommand};

fn config(text: &str) -> Result<Config, String> {
    Config::of_text(text, Path::new("/etc/c.toml"))
}

fn cli(config: &Config, line: &str) -> Cli {
    let argv = config.written_out(line.split(' ').map(OsString::from).collect());
    let matches = config.with_defaults(Cli::command()).try_get_matches_from(argv).unwrap();
    Cli::from_arg_matches(&matches).unwrap()
}

#[test]
fn a_default_holds_until_the_command_line_says_something_else() {
    let config = config(
        "fanout = 7\nconnect-timeout = \"3s\"\ntimeout = 90\nbecome-method = \"doas\"\ncolor = \"never\"\nvia = \"b\"\n\
         inventory = [\"hosts.yml\", \"genders:/g\"]\nssh-option = \"A=1\"\ncache = true\nlogin = \"amy\"\nport = 0x16\n",
    )
    .unwrap();
    let Cli { command: ToolCommand::Run(run), color, .. } = cli(&config, "o run -w a id") else { panic!() };
    assert_eq!((run.reach.fanout, run.reach.via.as_deref(), color), (7, Some("b"), Color::Never));
    assert_eq!((run.reach.connect_timeout.as_secs(), run.timeout.unwrap().as_secs()), (3, 90));
    assert_eq!(run.reach.choosing.inventory, ["/etc/hosts.yml", "genders:/g"]);
    assert_eq!((run.reach.becoming.become_method.as_str(), run.reach.ssh.port), ("doas", Some(22)));
    assert!(run.reach.image.cache);
    let line = "o --color always run -w a -f 9 --via c -I x --connect-timeout 8 -o B=2 -l bob --become-method su id";
    let Cli { command: ToolCommand::Run(run), color, .. } = cli(&config, line) else { panic!() };
    assert_eq!((run.reach.fanout, run.reach.via.as_deref(), color), (9, Some("c"), Color::Always));
    assert_eq!((run.reach.choosing.inventory, run.reach.connect_timeout.as_secs()), (vec!["x".to_owned()], 8));
    assert_eq!((run.reach.ssh.ssh_option, run.reach.ssh.login), (vec!["B=2".into()], Some("bob".into())));
    assert_eq!(run.reach.becoming.become_method.as_str(), "su");
    for (line, cache) in [("--cache=false", false), ("--cache", true), ("--cache=true", true), ("--binary /x", true)] {
        let Cli { command: ToolCommand::Run(run), .. } = cli(&config, &format!("o run -w a {line} id")) else {
            panic!()
        };
        assert_eq!((run.reach.image.cache, &run.argv[..]), (cache, &["id".into()][..]), "{line}");
    }
    let Cli { command: ToolCommand::Doctor(doctor), .. } = cli(&config, "o doctor a") else { panic!() };
    assert_eq!((doctor.connect_timeout.as_secs(), doctor.inventory.len()), (4, 2));
}

#[test]
fn every_key_is_an_option() {
    let mut tool = Cli::command();
    tool.build();
    let run = tool.find_subcommand("run").unwrap();
    for name in defaults::names() {
        assert!(run.get_arguments().any(|arg| arg.get_long() == Some(name)), "{name}");
    }
}

#[test]
fn a_command_of_the_file_is_a_line_for_the_hosts() {
    let config = config("[commands]\nup = \"uptime -p\"\n").unwrap();
    let Cli { command: ToolCommand::Run(run), .. } = cli(&config, "o -v up -w a") else { panic!() };
    assert_eq!(run.shell, Some("uptime -p".into()));
    let Cli { command: ToolCommand::Run(run), .. } = cli(&config, "o run -w a up") else { panic!() };
    assert_eq!((run.shell, run.argv), (None, vec!["up".into()]));
}

#[test]
fn what_is_wrong_is_told_with_its_key_and_its_line() {
    for (text, says) in [
        ("\nfanuot = 1\n", "/etc/c.toml, line 2: there is no key `fanuot`; did you mean `fanout`?"),
        ("group = 1\n", "line 1: there is no key `group`; did you mean `groups`?"),
        (
            "nonsense = 1\n",
            "there is no key `nonsense`; there are ask-above, batch, become-method, become-pass-command, become-pass-file, cache, color",
        ),
        ("fanout = \"7\"\n", "line 1: `fanout` is a text; write a number from 1 to 10000"),
        ("fanout = 0\n", "`fanout`: 0 is not a number from 1 to 10000"),
        (
            "pass-file = \"a\"\nbecome-pass-file = \"b\"\nbecome-pass-command = \"c\"\n",
            "there are become-pass-file and become-pass-command; keep one of them",
        ),
        ("ask-above = -1\n", "`ask-above`: -1 is not a number of hosts, as 50, or \"never\""),
        ("ask-above = true\n", "`ask-above` is true or false; write a number of hosts, as 50, or \"never\""),
        ("timeout = true\n", "`timeout` is true or false; write a time, as 30 (seconds) or \"5m\""),
        ("timeout = \"5x\"\n", "`timeout`: `5x` is not a time"),
        ("cache = \"yes\"\n", "`cache` is a text; write true or false"),
        ("color = \"pink\"\n", "`color`: \"pink\" is not one of them; write \"auto\" or \"always\" or \"never\""),
        ("inventory = [\n\"a\",\n3]\n", "line 3: `inventory` is a number; write the path of an inventory"),
        ("[groups]\nweb = 3\n", "line 2: `web` is a number; write a host expression"),
        ("[groups]\nall = \"a\"\n", "@all has a meaning already"),
        ("groups = 3\n", "`groups` is a number; write a table, which [groups] begins"),
        ("[commands]\nrun = \"a\"\n", "`run` is a command of offshoot"),
        ("[commands]\nup = [\"a\"]\n", "line 2: `up` is a list; write a line of shell"),
        ("[hosts]\ndb = \"a//b\"\n", "line 2: the path of db: "),
        ("[hosts]\nlocal1 = \"a\"\n", "\"local1\" cannot be the name of a host: it is a child of this machine"),
        ("[methods.docker]\nargv = [\"a\"]\n", "line 1: `docker` is a method already"),
        ("[methods.localx]\nargv = [\"a\"]\n", "`localx` is a method already"),
        ("[methods.\"a b\"]\nargv = [\"a\"]\n", "\"a b\" cannot be the name of a method"),
        ("[methods.x]\npasses = \"argv\"\n", "line 1: the method x has no `argv`"),
        ("[methods.x]\nargv = \"a\"\n", "line 2: `argv` is a text; write a list of words"),
        ("[methods.x]\nargv = [\"a\"]\npass = \"argv\"\n", "line 3: there is no key `pass`; did you mean `passes`?"),
        ("[methods.x]\nargv = [\"a\"]\npasses = \"words\"\n", "`passes`: \"words\"; write \"argv\" or \"string\""),
        ("[methods.x]\nargv = [\"a\"]\nprompts = [{ says = \"a\" }]\n", "line 3: a prompt needs `says` and `asks`"),
        (
            "[methods.x]\nargv = [\"a\"]\ntexts = [{ says = \"a\", kind = \"b\" }]\n",
            "`kind`: \"b\"; write \"auth\" or ",
        ),
        ("a = \n", "line 1: "),
        ("fanout = 1\nfanout = 2\n", "line 2: "),
    ] {
        let error = config(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_method_of_the_file_is_a_hop_of_paths() {
    let config = config(
        "[hosts]\ndb = \"jump:amy@a/enter\"\n[methods.jump]\nargv = [\"go\", \"{user@}{target}\", \"{command}\"]\n\
         passes = \"string\"\nprompts = [{ says = \"password:\", asks = \"login\" }, { says = \"sure?\", answer = \"yes\" }]\n\
         texts = [{ says = \"no way\", kind = \"host_key\", advice = \"turn round\" }]\n[methods.enter]\nargv = [\"in\"]\n",
    )
    .unwrap();
    assert_eq!(config.hosts["db"], "jump:amy@a/enter");
    let jump = &config.methods[1];
    assert_eq!((jump.name.as_str(), jump.prompts.len(), jump.texts.len()), ("jump", 2, 1));
    let fault = |path: &str| path.parse::<HostPath>().unwrap_err().to_string();
    assert!(fault("jump").contains("jump needs a target"), "{}", fault("jump"));
    assert!(fault("enter:amy@x").contains("enter takes no user"), "{}", fault("enter:amy@x"));
    assert!(fault("jmup:x").contains("did you mean jump?"), "{}", fault("jmup:x"));
    assert!("enter".parse::<HostPath>().is_ok() && "web1/jump:b".parse::<HostPath>().is_ok());
}
