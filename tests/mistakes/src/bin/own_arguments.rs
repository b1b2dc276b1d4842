//! The program reads its arguments before it becomes a child, as one with clap does.
use offshoot::{Error, Router};

async fn app(router: Router) -> Result<(), Error> {
    router.local().await.map(drop)
}

fn main() -> std::process::ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        eprintln!("error: unexpected argument '{argument}' found");
        return 2.into();
    }
    offshoot::run(app)
}
