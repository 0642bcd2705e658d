"""Floor 4: the floors put together; the only place where they meet.

      clients                        the same words: in process, HTTP, command
         |                                        |
    http  cli  client --> node.node (heart) --> lookup  federate
                             |                    |
        greeting  joining  directory     asking  requests  serving
                             |
                   dispatch  pump --> endpoint, outstanding, router, flood --> ports
                             |
                          applying --> store

In reading order:

    config.py       the file bangpath.toml, checked in one place
    opening.py      a server's directory: made, checked, opened in order, closed in the other
    node.py         (heart) one nursery, one pump, and the words people say to a server
    dispatch.py     which machine handles which message and which output: the one table
    pump.py         the loop: sockets, deadlines, outputs, datagrams
    greeting.py     who is on which connection
    joining.py      how a stranger becomes a server: tickets
    directory.py    every server known: keys, addresses, classes
    dialling.py     which addresses are dialled at all
    requests.py     what servers ask each other (vocabulary)
    requesting.py   the asker's side: words that wait for an answer
    serving.py      the owner's side: answers to GET, QUERY, MODIFY
    changing.py     operations on own objects, as one transaction
    applying.py     the one task that hands updates of others to the store
    reporting.py    status, peers, servers, feeds, mirrors, classes: what a server says of itself
    asking.py       what a question sees of the node (vocabulary)
    lookup.py       one question about one object
    language.py     the text form of a question, and the Python builder
    federate.py     a query over all owners, merged in order, with the completeness report
    client.py       what people import: a connection to a node; trio and blocking twins
    http/  cli/     the same words over HTTP, and the command

Left to others: everything a floor below decides. What stands here joins and never repeats.
"""
