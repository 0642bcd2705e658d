"""Floor 2: a message arrives once, whole and unread by others, or its sender learns that it did not (DESIGN section 5).

    sockets --> endpoint --> connection --> fragments --> MessageReceived --> outstanding --> the node
       ^            |             |
       +--- batch --+--- filling -+<-- fragments <-- send

Promises: encrypted reliable datagrams between proven keys; messages, not one stream; nothing a stranger sends raises,
or takes more than a bounded place; the same bytes at the same times give the same answers, so a simulation replays.

Files, in reading order:

    wire         vocabulary: messages to bounded CBOR and back
    events       vocabulary: what the transport tells
    ranges       sets of numbers: what is in is an ACK, what is missing is a NAK
    packet       picture and codec of a datagram and its frames
    settings     the figures somebody may want to set
    parameters   what both ends tell each other in the handshake

    connection   (heart) one peer: packets and time in, packets and events out
    states       its states and which step is legal
    fragments    a message cut into pieces and put together again
    flights      what is on the way; settled by ACK, NAK, overtaking, silence
    receipts     what came: the next ACK and NAK
    loss         round-trip time and the arithmetic of loss
    congestion   window and pace, by the rate that arrives
    filling      what leaves next, many packets to one system call
    mtu          how large a packet may be
    paths        a peer whose address changes
    directness   whether the peer hears us directly
    ways         directly or by gateways, and how large packets are there
    figures      how a connection does

    departures   what leaves a port, by the way it goes
    endpoint     one port's connections: found by index, called, admitted, taking turns
    admission    strangers who have called
    calling      our own calls
    farewells    what is said of connections that are over
    turns        when each connection wants to be looked at

    noise        the Noise patterns
    handshake    three packets from stranger to proven peer; a cookie under load
    sealing      session keys, packet numbers, replay
    words        what is said once, without a session

    requests     vocabulary of requests between servers
    outstanding  requests: receipted at once, outstanding until answered, asked twice and answered once
    questions    the asker's half
    answers      the answerer's half

    ports        the seam: what a datagram port must do
    sockets      the real ports: the only file that opens a socket

Words: a *packet* is one datagram of ours, a *frame* a part of it, a *piece* a part of a message; a *flight* is a run
of packets on the way; a *batch* leaves with one system call; a *call* becomes a *session* when both keys are proven.

What it leaves to others: who a proven key belongs to (`node`, by certificates), which way a packet goes (`routing`),
what messages mean (whoever declared them).
"""
