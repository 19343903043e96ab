--------------------------------- MODULE MC ---------------------------------
(* Bounds for TLC, and what it need not tell apart. *)
EXTENDS capabilities, TLC

CONSTANTS MaxCaps, MaxLog, MaxAsks

MCRights == {<<"a", 1>>, <<"a", 3>>}
MCSteps == 0..1
EveryScope == SUBSET Rights
WholeScope == {Rights}
Symmetric == Permutations(Nodes)

Bounded ==
    /\ Len(caps') <= MaxCaps
    /\ Len(log') <= MaxLog
    /\ \A n \in Nodes : sent'[n] <= MaxAsks /\ Cardinality(pend'[n]) <= 1

(* For the feed: one capability and one that derives from it are there at  *)
(* the start (that one is made earlier hinders nothing), and each order is *)
(* given once (the second changes nothing that is asked for).              *)
Chain == <<[parent |-> 0, scope |-> Rights], [parent |-> 1, scope |-> Rights]>>
FeedInit ==
    /\ caps = Chain
    /\ log = <<>> /\ age = <<>> /\ net = {}
    /\ rev = [n \in Nodes |-> 0] /\ sent = [n \in Nodes |-> 0]
    /\ conf = [n \in Nodes |-> None] /\ asked = [n \in Nodes |-> {}]
    /\ pend = [n \in Nodes |-> {}] /\ taken = [n \in Nodes |-> <<>>]
FeedSpec == FeedInit /\ [][Next]_vars

Once ==
    /\ Bounded
    /\ Len(log') > Len(log) =>
        /\ log'[Len(log')] \notin {log[i] : i \in DOMAIN log}
        /\ log'[Len(log')] # [op |-> "grant", id |-> 2]

(* Ages of what revokes nothing are looked at by nobody. An answer counts  *)
(* only while its request is open, and no request has another's number.    *)
Open == {m \in net : \E a \in asked[m.node] : a.id = m.id}
View == <<caps, log, [i \in Orders("revoke") |-> age[i]], rev, conf, asked, sent, Open, pend,
          taken>>
=============================================================================
