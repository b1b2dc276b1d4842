//! Two children that play ping-pong, past the program that has started them.
//!
//!     cargo run --example ping_pong
//!
//! Each gets the other's `Sender`; from then on the numbers go to and fro
//! between the two.

#![expect(clippy::print_stdout, reason = "this is its output")]

use offshoot::{Call, Context, Error, Receiver, Router, Sender, export};

const END: u32 = 30;

/// Plays until the number is high enough; returns how many balls it has had.
async fn play(router: &Router, ready: Sender<(Sender<u32>, Sender<Sender<u32>>)>) -> Result<u32, Error> {
    let (balls, partner) = (Receiver::new(router), Receiver::new(router));
    ready.send((balls.sender(), partner.sender())).await?;
    let partner = partner.recv().await?;
    let mut had = 0;
    loop {
        let number = balls.recv().await?;
        had += 1;
        if number <= END {
            partner.send(number + 1).await?;
        }
        // The last two balls end a player each.
        if number >= END {
            return Ok(had);
        }
    }
}
export!(play);

/// A child that plays, where to send it a ball, and where to name its partner.
async fn player(router: &Router) -> Result<(Context, Call<u32>, Sender<u32>, Sender<Sender<u32>>), Error> {
    let child = router.local().await?;
    let ready = Receiver::new(router);
    let call = child.call(play, (ready.sender(),));
    let (balls, partner) = ready.recv().await?;
    Ok((child, call, balls, partner))
}

async fn app(router: Router) -> Result<(), Error> {
    let (one, one_call, one_balls, one_partner) = player(&router).await?;
    let (two, two_call, two_balls, two_partner) = player(&router).await?;
    one_partner.send(two_balls.clone()).await?;
    two_partner.send(one_balls.clone()).await?;
    one_balls.send(1).await?;
    let (one_had, two_had) = (one_call.await?, two_call.await?);
    println!("{one} had {one_had} balls, {two} had {two_had}");
    assert_eq!(one_had + two_had, END + 1);
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
