---------------------------- MODULE capabilities ----------------------------
(***************************************************************************)
(* Capabilities over several nodes and one store: granting, attenuation    *)
(* without asking, revocation, and a feed that every node follows.         *)
(*                                                                         *)
(* The adversary holds a capability, writes any scope into what derives    *)
(* from it, and uses it where its revocation has not been heard. The       *)
(* network delays, repeats, turns round and loses messages: a message that *)
(* is in `net` may be delivered at any time, more than once, or never. A   *)
(* partition is a time in which none is delivered.                         *)
(*                                                                         *)
(* Time is real time, which no node sees. Of each interval that matters to *)
(* a node there are two measures: what its clock shows of it, `shown`, and *)
(* by how much that is less than the truth, `lag`. Clocks are promised to  *)
(* lag by no more than D within T, which is why a lease L = T - D is safe. *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Nodes,      \* who judges by the feed
    Own,        \* who judges in the store's own process
    Rights,     \* pairs <<tool, tier>>
    Scopes,     \* what holders write into what they make
    T,          \* bound in real time
    D,          \* by how much clocks lag within T at most
    L,          \* how long a confirmation counts by a node's clock
    R,          \* bound in exchanges
    Steps       \* by how much clocks may move while time moves by 1

ASSUME T > D /\ D >= 0 /\ L <= T - D /\ R >= 1

VARIABLES
    caps,       \* what was made: id -> [parent, scope], parent 0 for none
    log,        \* the store's log of orders, each [op, id]
    age,        \* real time since each of them had its receipt
    rev,        \* node -> how many of them it knows
    conf,       \* node -> what it last had confirmed
    asked,      \* node -> its requests without an answer
    sent,       \* node -> how many requests it ever sent
    net,        \* messages
    pend,       \* node -> what was permitted and has not started
    taken       \* node -> for the last R answers: the length of the log when they were asked for

vars == <<caps, log, age, rev, conf, asked, sent, net, pend, taken>>

None == [state |-> "none", shown |-> 0, lag |-> 0]
Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b
Tier(r) == r[2]
High(r) == Tier(r) >= 3

---------------------------------------------------------------------------
(* What there is. *)

RECURSIVE Above(_)
Above(c) == IF caps[c].parent = 0 THEN {c} ELSE {c} \cup Above(caps[c].parent)

Root(c) == CHOOSE a \in Above(c) : caps[a].parent = 0

Orders(op) == {i \in DOMAIN log : log[i].op = op}

(* The revocations that end c. *)
Ends(c) == {i \in Orders("revoke") : log[i].id \in Above(c)}

---------------------------------------------------------------------------
(* What a node goes by. *)

Knows(n) == IF n \in Own THEN Len(log) ELSE rev[n]

Granted(n, c) == \E i \in Orders("grant") : i <= Knows(n) /\ log[i].id = Root(c)

Revoked(n, c) == \E i \in Orders("revoke") : i <= Knows(n) /\ log[i].id \in Above(c)

Within(c, r) == \A a \in Above(c) : r \in caps[a].scope

Holds(lease) == lease.state = "confirmed" /\ lease.shown >= 0 /\ lease.shown < L

Fresh(n) == IF n \in Own THEN TRUE ELSE Holds(conf[n])

Permits(n, c, r) ==
    /\ Granted(n, c)
    /\ ~Revoked(n, c)
    /\ Within(c, r)
    /\ High(r) => Fresh(n)

---------------------------------------------------------------------------
Init ==
    /\ caps = <<>>
    /\ log = <<>>
    /\ age = <<>>
    /\ rev = [n \in Nodes |-> 0]
    /\ conf = [n \in Nodes |-> None]
    /\ asked = [n \in Nodes |-> {}]
    /\ sent = [n \in Nodes |-> 0]
    /\ net = {}
    /\ pend = [n \in Nodes |-> {}]
    /\ taken = [n \in Nodes |-> <<>>]

(* Holders. Whoever has a capability makes another that derives from it,   *)
(* and says what he likes of its scope. Who has none makes one from        *)
(* nothing, which is worth nothing until the store grants it.              *)
Make(p, s) ==
    /\ p = 0 \/ p \in DOMAIN caps
    /\ caps' = Append(caps, [parent |-> p, scope |-> s])
    /\ UNCHANGED <<log, age, rev, conf, asked, sent, net, pend, taken>>

(* The store. An order is durable and has its receipt in one step here;    *)
(* the simulator crashes the store between the two.                        *)
Order(op, c) ==
    /\ log' = Append(log, [op |-> op, id |-> c])
    /\ age' = Append(age, 0)
    /\ UNCHANGED <<caps, rev, conf, asked, sent, net, pend, taken>>

Grant(c) == c \in DOMAIN caps /\ Order("grant", c)
Revoke(c) == c \in DOMAIN caps /\ Order("revoke", c)
Other == Order("other", 0)

(* The feed. `at` is for the invariant alone: the node does not know it.   *)
Ask(n) ==
    LET id == sent[n] + 1 IN
    /\ sent' = [sent EXCEPT ![n] = id]
    /\ asked' = [asked EXCEPT ![n] =
           @ \cup {[id |-> id, shown |-> 0, lag |-> 0, at |-> Len(log)]}]
    /\ net' = net \cup {[kind |-> "ask", node |-> n, id |-> id, have |-> rev[n]]}
    /\ UNCHANGED <<caps, log, age, rev, conf, pend, taken>>

(* The store tells what a node lacks, or the first of it.                  *)
Tell(m, upto) ==
    /\ m.kind = "ask"
    /\ upto \in m.have..Len(log)
    /\ net' = net \cup {[kind |-> "answer", node |-> m.node, id |-> m.id,
           upto |-> upto, head |-> Len(log)]}
    /\ UNCHANGED <<caps, log, age, rev, conf, asked, sent, pend, taken>>

LastR(s) == IF Len(s) > R THEN SubSeq(s, Len(s) - R + 1, Len(s)) ELSE s

Take(m) ==
    LET n == m.node IN
    /\ m.kind = "answer"
    /\ \E a \in asked[n] :
        /\ a.id = m.id
        /\ rev' = [rev EXCEPT ![n] = Max(@, m.upto)]
        /\ conf' = [conf EXCEPT ![n] =
               IF rev'[n] >= m.head
               THEN [state |-> "confirmed", shown |-> a.shown, lag |-> a.lag]
               ELSE [None EXCEPT !.state = "behind"]]
        /\ asked' = [asked EXCEPT ![n] = {b \in @ : b.id > a.id}]
        /\ taken' = [taken EXCEPT ![n] = LastR(Append(@, a.at))]
    /\ UNCHANGED <<caps, log, age, sent, net, pend>>

(* Actions. What is permitted starts later, if it still may. T1 and T2     *)
(* start whenever they like, and the store's own process does not wait.    *)
Judge(n, act, c, r) ==
    /\ c \in DOMAIN caps
    /\ Permits(n, c, r)
    /\ pend' = IF n \in Own \/ ~High(r) THEN pend
               ELSE [pend EXCEPT ![n] = @ \cup {[act |-> act, cap |-> c, lease |-> conf[n]]}]
    /\ UNCHANGED <<caps, log, age, rev, conf, asked, sent, net, taken>>

MayStart(p) == Holds(p.lease)

Start(n, act) ==
    /\ \E p \in pend[n] : p.act = act /\ MayStart(p) /\ pend' = [pend EXCEPT ![n] = @ \ {p}]
    /\ UNCHANGED <<caps, log, age, rev, conf, asked, sent, net, taken>>

(* A node forgets all but what it kept: what it knows of the log. The      *)
(* numbers of its requests go on, as if a life were part of them.          *)
Crash(n) ==
    /\ conf' = [conf EXCEPT ![n] = None]
    /\ asked' = [asked EXCEPT ![n] = {}]
    /\ pend' = [pend EXCEPT ![n] = {}]
    /\ taken' = [taken EXCEPT ![n] = <<>>]
    /\ UNCHANGED <<caps, log, age, rev, sent, net>>

(* Real time moves by d, and the clock of each node by e[n]. What lies     *)
(* more than T back is as good as forgotten.                               *)
Later(i, d, e) ==
    IF i.shown + i.lag > T THEN i
    ELSE [i EXCEPT !.shown = @ + e, !.lag = @ + d - e]

Kept(i) == i.shown >= Min(i.shown + i.lag, T) - D

Pass(d, e) ==
    /\ age' = [i \in DOMAIN age |-> Min(age[i] + d, T)]
    /\ conf' = [n \in Nodes |->
           IF conf[n].state = "confirmed" THEN Later(conf[n], d, e[n]) ELSE conf[n]]
    /\ asked' = [n \in Nodes |-> {Later(a, d, e[n]) : a \in asked[n]}]
    /\ pend' = [n \in Nodes |->
           {[p EXCEPT !.lease = Later(@, d, e[n])] : p \in pend[n]}]
    /\ \A n \in Nodes :
        /\ Kept(conf'[n])
        /\ \A a \in asked'[n] : Kept(a)
        /\ \A p \in pend'[n] : Kept(p.lease)
    /\ UNCHANGED <<caps, log, rev, sent, net, taken>>

Next ==
    \/ \E p \in {0} \cup DOMAIN caps, s \in Scopes : Make(p, s)
    \/ \E c \in DOMAIN caps : Grant(c) \/ Revoke(c)
    \/ \E n \in Nodes : Ask(n) \/ Crash(n)
    \/ \E m \in net : Take(m) \/ \E upto \in 0..Len(log) : Tell(m, upto)
    \/ \E n \in Nodes \cup Own, c \in DOMAIN caps, r \in Rights : Judge(n, 0, c, r)
    \/ \E n \in Nodes : Start(n, 0)
    \/ \E e \in [Nodes -> Steps] : Pass(1, e)

Spec == Init /\ [][Next]_vars

---------------------------------------------------------------------------
(* What has to hold. *)

(* No holder exceeds its grant: whatever he wrote into what he made.       *)
Confined ==
    \A n \in Nodes \cup Own, c \in DOMAIN caps, r \in Rights :
        Permits(n, c, r) =>
            /\ \E i \in Orders("grant") : caps[log[i].id].parent = 0 /\ log[i].id \in Above(c)
            /\ \A a \in Above(c) : r \in caps[a].scope

(* In the store's own process revocation ends everything at once.          *)
AtOnce ==
    \A c \in DOMAIN caps : Ends(c) # {} => \A n \in Own, r \in Rights : ~Permits(n, c, r)

(* What is known here is refused here, at every tier.                      *)
KnownIsRefused ==
    \A c \in DOMAIN caps, n \in Nodes :
        (\E i \in Ends(c) : i <= rev[n]) => \A r \in Rights : ~Permits(n, c, r)

Does(n, c) == \E r \in Rights : High(r) /\ Permits(n, c, r)

(* Revocation ends all that derives, everywhere, when T is over...         *)
EndsInTime ==
    \A c \in DOMAIN caps, n \in Nodes : (\E i \in Ends(c) : age[i] >= T) => ~Does(n, c)

(* ... also what was permitted before and starts late...                   *)
StartsInTime ==
    \A n \in Nodes : \A p \in pend[n] :
        MayStart(p) => \A i \in Ends(p.cap) : age[i] < T

(* ... and when R exchanges are over that began after the receipt.         *)
Exchanges(n, i) == Cardinality({k \in DOMAIN taken[n] : taken[n][k] >= i})

EndsInRounds ==
    \A c \in DOMAIN caps, n \in Nodes :
        (\E i \in Ends(c) : Exchanges(n, i) >= R) => ~Does(n, c)

(* A node that was cut off for T refuses T3 and above.                     *)
CutOffRefuses ==
    \A n \in Nodes :
        conf[n].state # "confirmed" \/ conf[n].shown + conf[n].lag >= T =>
            \A c \in DOMAIN caps : ~Does(n, c)
=============================================================================
