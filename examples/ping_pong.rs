//! Two children that play ping-pong directly with each other, without the program that started them.
//!
//!     cargo run --example ping_pong
//!
//! Each child gets the `Sender` of the other one. Then they send numbers to each other.

#![expect(clippy::print_stdout, reason = "this is its output")]

use offshoot::{Call, Context, Error, Receiver, Router, Sender, export};

const END: u32 = 30;

/// Plays until the number is high enough. Returns how many balls this player received.
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
        // Each player ends after one of the last two balls.
        if number >= END {
            return Ok(had);
        }
    }
}
export!(play);

/// Starts a child that plays. Returns the child, its call, the sender for balls to it, and the sender for its
/// partner's address.
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
