//! Tests of single cases: which message may go where.

use super::*;
use crate::routing::ids::{self, BLOCK};
use crate::wire::message::Handle;

#[test]
fn a_root_that_has_detached_gives_out_ids_that_nobody_below_has() {
    let mut routing = Routing::new(ContextId(7), Arc::from([ContextId(0)]), false);
    routing.add_parent(LinkId(1), ContextId(0));
    routing.give_block(1000..2000);
    routing.add_child(LinkId(2), ContextId(1000), "a".into(), None);
    routing.hand_out(LinkId(2), ContextId(1000), 5000..6000);
    routing.del_link(LinkId(1));
    routing.become_root();
    assert_eq!(routing.take_id(), Some(ContextId(6000)));
    assert_eq!(routing.take_block().start, 6001);
    let mut message = Message { dst: ContextId(0), ..Message::new(ContextId(0), Handle::CALL_FUNCTION, Vec::new()) };
    assert_eq!(routing.route(&mut message, None), Verdict::Refuse(DeadReason::no_route(ContextId(0), ContextId(7))));
}

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const UP: LinkId = LinkId(9);

fn from_to(src: u32, dst: u32) -> Message {
    Message {
        src: ContextId(src),
        auth: ContextId(src),
        dst: ContextId(dst),
        handle: Handle(1000),
        ..Message::default()
    }
}

fn master() -> Routing {
    let mut routing = Routing::new(ContextId(0), Arc::new([]), false);
    routing.add_child(A, ContextId(1), "a".into(), None);
    routing.add_child(B, ContextId(2), "b".into(), None);
    routing
}

/// The same, with ids of its children taken from its own ids.
fn beyond_its_children(mut routing: Routing) -> Routing {
    assert_eq!([routing.take_id(), routing.take_id()], [Some(ContextId(1)), Some(ContextId(2))]);
    routing
}

#[test]
fn the_parent_may_write_in_the_name_of_every_context_and_act_for_every_other() {
    let mut routing = deep(&[3, 0]);
    let mut verdict = |src, auth| {
        let mut message = Message { auth: ContextId(auth), ..from_to(src, 2_000) };
        routing.route(&mut message, Some(UP))
    };
    for (src, auth) in [(3, 3), (0, 0), (50, 50), (50, 0), (3, 2_001), (2_001, 2_001), (7, 7)] {
        assert_eq!(verdict(src, auth), Verdict::Forward(A), "{src} under {auth}");
    }
    // What another context below has sent does not come from above.
    assert!(matches!(verdict(2_001, 0), Verdict::Forged(why) if why.starts_with("bad src_id: got 2001 via 3")));
}

#[test]
fn a_policy_sees_the_neighbour_that_a_message_came_by_and_all_parents() {
    let routing = deep(&[3, 0]);
    for (from, id) in [(Some(A), 1_000), (Some(UP), 3), (None, 7)] {
        let peer = routing.peer(from);
        assert_eq!((peer.id, peer.me), (ContextId(id), ContextId(7)));
        assert_eq!(peer.parent_ids[..], [ContextId(3), ContextId(0)]);
    }
}

#[test]
fn siblings_may_talk_through_their_parent() {
    assert_eq!(master().route(&mut from_to(1, 2), Some(A)), Verdict::Forward(B));
}

#[test]
fn a_forged_auth_id_or_src_id_is_dropped() {
    let verdict = master().route(&mut from_to(2, 0), Some(A));
    assert!(matches!(verdict, Verdict::Forged(why) if why.starts_with("bad auth_id: got 2 via 1")));
    let mut message = from_to(2, 0);
    message.auth = ContextId(1);
    let verdict = master().route(&mut message, Some(A));
    assert!(matches!(verdict, Verdict::Forged(why) if why.starts_with("bad src_id: got 2 via 1")));
}

#[test]
fn an_unknown_context_is_no_route() {
    assert_eq!(
        master().route(&mut from_to(0, 1234), None),
        Verdict::Refuse(DeadReason::no_route(ContextId(1234), ContextId(0)))
    );
}

#[test]
fn what_comes_from_the_parent_is_not_bounced_back() {
    let mut routing: Routing = Routing::new(ContextId(5), Arc::new([ContextId(0)]), false);
    routing.add_parent(UP, ContextId(0));
    assert!(matches!(routing.route(&mut from_to(0, 77), Some(UP)), Verdict::Refuse(_)));
    assert_eq!(routing.route(&mut from_to(5, 77), None), Verdict::Forward(UP));
}

#[test]
fn unidirectional_routing_keeps_siblings_apart_unless_one_is_stamped() {
    let mut routing: Routing = Routing::new(ContextId(0), Arc::new([]), true);
    routing.add_child(A, ContextId(1), "a".into(), None);
    routing.add_child(B, ContextId(2), "b".into(), None);
    let expected = "routing mode prevents forward of message from context 1 to context 2 via context 0";
    assert_eq!(routing.route(&mut from_to(1, 2), Some(A)), Verdict::Refuse(DeadReason::refused(expected)));
    routing.add_child(LinkId(3), ContextId(3), "c".into(), Some(ContextId(0)));
    let mut message = from_to(3, 2);
    assert_eq!(routing.route(&mut message, Some(LinkId(3))), Verdict::Forward(B));
    assert_eq!(message.auth, ContextId(0));
}

#[test]
fn a_link_that_is_stamped_with_a_parent_s_id_is_as_free_as_one_with_its_own() {
    for (stamp, is_free) in [(0, true), (7, true), (2, false)] {
        let mut routing: Routing = Routing::new(ContextId(7), Arc::new([ContextId(0)]), true);
        routing.add_parent(UP, ContextId(0));
        routing.add_child(A, ContextId(1), "a".into(), Some(ContextId(stamp)));
        routing.add_child(B, ContextId(2), "b".into(), None);
        let verdict = routing.route(&mut from_to(1, 2), Some(A));
        assert_eq!(verdict == Verdict::Forward(B), is_free, "{stamp}: {verdict:?}");
        // What the other one sends to it passes just as well.
        let verdict = routing.route(&mut from_to(2, 1), Some(B));
        assert_eq!(verdict == Verdict::Forward(A), is_free, "{stamp}: {verdict:?}");
    }
}

#[test]
fn what_is_sent_for_another_context_acts_under_its_authority_where_the_next_hop_accepts_that() {
    let mut routing: Routing = Routing::new(ContextId(7), Arc::new([ContextId(3), ContextId(0)]), false);
    routing.add_parent(UP, ContextId(3));
    routing.add_child(A, ContextId(1), "a".into(), None);
    routing.add_child(B, ContextId(2), "b".into(), None);
    let authority = |of, dst| routing.authority(ContextId(of), ContextId(dst)).0;
    // A context below keeps its own, wherever the message goes.
    assert_eq!([authority(1, 2), authority(1, 7), authority(1, 3), authority(1, 99)], [1; 4]);
    // One from elsewhere keeps it towards those below and this context. The parent would not accept it from here.
    assert_eq!([authority(50, 2), authority(50, 7)], [50; 2]);
    assert_eq!([authority(50, 3), authority(50, 99)], [7; 2]);
    // This context, and those above it: never more than this context's own.
    for of in [7, 3, 0] {
        assert_eq!([authority(of, 2), authority(of, 7), authority(of, 3), authority(of, 99)], [7; 4], "{of}");
    }
}

#[test]
fn a_child_announces_only_what_was_handed_to_it() {
    let mut routing = master();
    assert_eq!(routing.take_id(), Some(ContextId(1)));
    let block = routing.take_block();
    assert_eq!(block, 2..1002);
    routing.hand_out(A, ContextId(1), block);
    assert!(routing.add_route(A, ContextId(700), "ok").is_ok());
    assert!(routing.add_route(A, ContextId(700), "twice").is_err());
    assert!(routing.add_route(A, ContextId(5000), "stolen").is_err());
    assert!(routing.add_route(B, ContextId(701), "the neighbour's").is_err());
    assert!(routing.add_route(A, ContextId(702), &"x".repeat(256)).is_err());
    assert_eq!(routing.take_id(), Some(ContextId(1002)));
}

#[test]
fn names_from_below_begin_with_that_of_the_neighbour() {
    let mut routing = master();
    routing.hand_out(A, ContextId(1), 2000..3000);
    let near = routing.name(ContextId(1)).unwrap().to_owned();
    let below = format!("{near}.ssh.web1");
    let long = "x".repeat(MAX_NAME);
    for (id, announced, name) in [
        (2000, &*below, &*below),
        (2001, "ssh.web1", &below),
        (2002, &near, &format!("{near}.{near}")),
        (2003, &format!("{near}x.y"), &format!("{near}.{near}x.y")),
        (2004, &long, &format!("{near}.{long}")[..MAX_NAME]),
    ] {
        routing.add_route(A, ContextId(id), announced).unwrap();
        assert_eq!(routing.name(ContextId(id)), Some(name));
    }
}

#[test]
fn a_context_claims_for_its_own_child_only_what_it_was_given() {
    let mut routing = master();
    let siblings = [ContextId(2000), ContextId(3000)];
    routing.hand_out(A, ContextId(1), 2000..4000);
    for (sibling, ids) in siblings.into_iter().zip([5000..6000, 6000..7000]) {
        routing.add_route(A, sibling, "behind one hop").unwrap();
        routing.hand_out(A, sibling, ids);
    }
    let since = routing.clock();
    routing.add_route(A, ContextId(6000), "child").unwrap();
    assert!(routing.claim(ContextId(6000), siblings[0], since).is_err());
    assert!(routing.claim(ContextId(6000), siblings[1], routing.clock()).is_err());
    assert!(routing.claim(ContextId(6000), siblings[1], since).is_ok());
    assert!(routing.claim(ContextId(6000), siblings[1], since).is_err());
}

#[test]
fn a_context_holds_few_unused_blocks() {
    let mut routing = beyond_its_children(master());
    for _ in 0..ids::MAX_UNUSED_BLOCKS {
        assert!(routing.may_have_block(A, ContextId(1)));
        let block = routing.take_block();
        routing.hand_out(A, ContextId(1), block);
    }
    assert!(!routing.may_have_block(A, ContextId(1)));
    assert!(routing.may_have_block(B, ContextId(2)));
    routing.add_route(A, ContextId(1), "self").unwrap_err();
    // One of them must have been used up, whether its contexts live or not.
    let first = routing.links[&A].lent.first().unwrap();
    for id in first..first + BLOCK / 2 {
        assert!(!routing.may_have_block(A, ContextId(1)), "{id}");
        routing.add_route(A, ContextId(id), "used").unwrap();
        routing.del_route(A, ContextId(id)).unwrap();
        // Announcing the same context again changes nothing.
        routing.add_route(A, ContextId(id), "again").unwrap();
        routing.del_route(A, ContextId(id)).unwrap();
    }
    assert!(routing.may_have_block(A, ContextId(1)));
}

#[test]
fn ids_that_nobody_can_have_any_more_come_back() {
    let mut routing = beyond_its_children(master());
    let hand_out = |routing: &mut Routing, owner| {
        let block = routing.take_block();
        routing.hand_out(A, owner, block.clone());
        block
    };
    let first = hand_out(&mut routing, ContextId(1));
    // Contexts that appear, take as many ids as they may, and go.
    let mut most = 0;
    for _ in 0..10_000 {
        let child = ContextId(first.start);
        routing.add_route(A, child, "child").unwrap();
        while routing.may_have_block(A, child) {
            most = most.max(hand_out(&mut routing, child).end);
        }
        assert_eq!(routing.links[&A].lent.len(), 1 + ids::MAX_UNUSED_BLOCKS);
        routing.del_route(A, child).unwrap();
    }
    assert!(most <= first.end + 2 * BLOCK, "{most}");
    // Ids that were announced are given out again only when nothing else is left.
    routing.del_link(A);
    let [fresh, worn] = routing.stock.returned();
    assert!(fresh.iter().all(|ids| !ids.contains(&first.start)));
    assert!(worn.iter().any(|ids| ids.contains(&first.start)));
    routing.stock.use_up_all_but_worn();
    assert_eq!(routing.take_block().start, first.start);
}

#[test]
fn blocks_that_are_used_up_are_kept_only_for_contexts_that_live() {
    let mut routing = beyond_its_children(master());
    let mut lives = Vec::new();
    for number in 0..20 {
        assert!(routing.may_have_block(A, ContextId(1)), "{number}");
        let block = routing.take_block();
        routing.hand_out(A, ContextId(1), block.clone());
        for id in block {
            routing.add_route(A, ContextId(id), "x").unwrap();
            if id % (5 * BLOCK) == 0 {
                lives.push(ContextId(id));
            } else {
                routing.del_route(A, ContextId(id)).unwrap();
            }
        }
    }
    assert!(lives.len() >= 3 && routing.links[&A].lent.len() <= lives.len() + ids::MAX_UNUSED_BLOCKS);
    // A context whose block was used up long ago is still recognised.
    for id in &lives {
        assert!(routing.add_route(A, *id, "again").unwrap_err().contains("duplicate"));
        routing.del_route(A, *id).unwrap();
    }
    assert!(routing.links[&A].lent.len() <= ids::MAX_UNUSED_BLOCKS);
}

#[test]
fn only_those_who_wrote_to_a_context_or_were_written_to_by_it_hear_of_its_end() {
    let mut routing = master();
    routing.add_child(LinkId(3), ContextId(3), "c".into(), None);
    routing.add_child(LinkId(4), ContextId(4), "d".into(), None);
    routing.route(&mut from_to(2, 1), Some(B));
    assert_eq!(routing.route(&mut from_to(1, 3), Some(A)), Verdict::Forward(LinkId(3)));
    let gone = routing.del_link(A);
    let tell = vec![(B, ContextId(1)), (LinkId(3), ContextId(1))];
    assert_eq!(gone, Gone { contexts: vec![ContextId(1)], tell });
    assert!(matches!(routing.route(&mut from_to(0, 1), None), Verdict::Refuse(_)));
}

#[test]
fn a_link_that_wrote_to_too_many_hears_of_every_end() {
    let mut routing = master();
    for dst in 0..=MAX_MET {
        routing.route(&mut from_to(2, 10_000 + u32::try_from(dst).unwrap()), Some(B));
    }
    assert_eq!(routing.del_link(A).tell, [(B, ContextId(1))]);
}

#[test]
fn a_link_that_too_many_wrote_to_hears_of_every_end() {
    let mut routing = deep(&[3, 0]);
    for src in 0..=MAX_MET {
        let mut message = Message { auth: ContextId(0), ..from_to(10_000 + u32::try_from(src).unwrap(), 2_000) };
        assert_eq!(routing.route(&mut message, Some(UP)), Verdict::Forward(A));
    }
    assert_eq!(routing.del_route(UP, ContextId(77)).unwrap().tell, [(A, ContextId(77))]);
}

#[test]
fn what_a_refused_message_wanted_is_not_kept_by_the_link_it_was_to_leave_by() {
    let mut routing = Routing::new(ContextId(0), Arc::new([]), true);
    routing.add_child(A, ContextId(1), "a".into(), None);
    routing.add_child(B, ContextId(2), "b".into(), None);
    assert!(matches!(routing.route(&mut from_to(1, 2), Some(A)), Verdict::Refuse(_)));
    assert_eq!(routing.del_link(A).tell, []);
}

#[test]
fn a_neighbour_ends_only_its_own_routes() {
    let mut routing = master();
    assert_eq!(routing.del_route(B, ContextId(1)), None);
    assert_eq!(routing.del_route(A, ContextId(1)).map(|gone| gone.contexts), Some(vec![ContextId(1)]));
}

/// Context 7 with these parents, nearest first. Below it is 1000, which has started 2000 and 2001; 2000 has started 3000.
fn deep(parents: &[u32]) -> Routing {
    let parents: Arc<[ContextId]> = parents.iter().copied().map(ContextId).collect();
    let parent = parents[0];
    let mut routing = Routing::new(ContextId(7), parents, false);
    routing.add_parent(UP, parent);
    routing.add_child(A, ContextId(1_000), "a".into(), None);
    routing.hand_out(A, ContextId(1_000), 2_000..3_000);
    for id in [2_000, 2_001] {
        routing.add_route(A, ContextId(id), "a.b").unwrap();
    }
    routing.hand_out(A, ContextId(2_000), 3_000..4_000);
    routing.add_route(A, ContextId(3_000), "a.b.c").unwrap();
    routing
}

#[test]
fn only_a_router_on_the_way_to_a_context_can_tell_of_its_end() {
    let routing = deep(&[3, 0]);
    let tells = |src, of, from| routing.provenance(ContextId(src), from).is_on_way_to(ContextId(of));
    for (src, of, from, may) in [
        (1_000, 3_000, A, true),
        (2_000, 3_000, A, true),
        (2_001, 3_000, A, false),
        (2_000, 2_001, A, false),
        (3_000, 2_000, A, false),
        (1_000, 8, A, false),
        // From the parent: those above, and nobody beside.
        (3, 8, UP, true),
        (0, 8, UP, true),
        (0, 3_000, UP, true),
        (5, 8, UP, false),
        (5, 0, UP, false),
    ] {
        assert_eq!(tells(src, of, Some(from)), may, "{src} of {of}");
    }
    assert!(tells(7, 3_000, None), "what was created here");
}

#[test]
fn a_neighbour_is_on_the_way_to_every_context_that_a_route_by_hand_leads_to() {
    let mut routing = deep(&[0]);
    routing.set_out(A, ContextId(9_000)).unwrap();
    assert!(routing.provenance(ContextId(1_000), Some(A)).is_on_way_to(ContextId(9_000)));
    assert!(!routing.provenance(ContextId(2_000), Some(A)).is_on_way_to(ContextId(9_000)));
}

#[test]
fn a_context_sends_its_values_and_those_below_it_do() {
    let routing = deep(&[0]);
    let is_from = |src, context, from| routing.provenance(ContextId(src), from).is_from(ContextId(context));
    for (src, context, from, may) in [
        (2_000, 2_000, A, true),
        (3_000, 2_000, A, true),
        (3_000, 1_000, A, true),
        (3_000, 7, A, true),
        (2_001, 2_000, A, false),
        (1_000, 2_000, A, false),
        (0, 2_000, UP, false),
        (0, 7, UP, false),
    ] {
        assert_eq!(is_from(src, context, Some(from)), may, "{src} for {context}");
    }
    assert!(is_from(7, 2_000, None), "this context's own");
}
