--------------------------------- MODULE MC ---------------------------------
(* Bounds for TLC, and what it need not tell apart. *)
EXTENDS capabilities, TLC

CONSTANTS MaxCaps, MaxLog, MaxAsks, MaxAnswers

MCRights == {<<"a", 1>>, <<"a", 3>>}
MCSteps == 0..1
EveryScope == SUBSET Rights
WholeScope == {Rights}
Symmetric == Permutations(Nodes)

Bounded ==
    /\ Len(caps') <= MaxCaps
    /\ Len(log') <= MaxLog
    /\ \A n \in Nodes : sent'[n] <= MaxAsks /\ Cardinality(pend'[n]) <= 1
    /\ \A m \in net' \ net : m.kind = "answer" =>
           Cardinality({o \in net : o.kind = "answer" /\ o.node = m.node /\ o.id = m.id})
               < MaxAnswers

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

(* For scopes: no time passes. *)
Timeless ==
    /\ Bounded
    /\ \A i \in DOMAIN age' : age'[i] = 0
    /\ Len(log') > Len(log) => log'[Len(log')] \notin {log[i] : i \in DOMAIN log}

(* Ages of what revokes nothing are looked at by nobody. An answer counts  *)
(* only while its request is open, and no request has another's number. A  *)
(* lease that is over stays so: clocks don't go back here.                 *)
Open == {m \in net : \E a \in asked[m.node] : a.id = m.id}
Over(i) == IF i.shown >= L THEN [i EXCEPT !.shown = L, !.lag = 0] ELSE i
View == <<
    caps, log, [i \in Orders("revoke") |-> age[i]], rev, sent, Open, taken,
    [n \in Nodes |-> Over(conf[n])],
    [n \in Nodes |-> {Over(a) : a \in asked[n]}],
    [n \in Nodes |-> {[p EXCEPT !.lease = Over(@)] : p \in pend[n]}]>>
=============================================================================
