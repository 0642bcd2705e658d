"""The node's words over HTTP, version 1 (DESIGN U3).

    GET PUT PATCH DELETE  /v1/objects/{server}/{object}       POST /v1/objects        {class, fields}
          GET with ?consistency= &max_age= &after= &deadline=   (docs/guide-answers)
    POST /v1/transactions  [{op, ...}]                        POST /v1/query          {query, and as with ?}
    GET POST DELETE       /v1/classes                         GET POST DELETE         /v1/mirrors
    GET /v1/outbox        GET DELETE /v1/outbox/{request}     changes with ?queue= &expires=  (docs/guide-outbox)
    POST /v1/explain      {query}                             GET  /v1/complete     ?class= &field= &prefix= &limit=
    GET /v1/history/{server}/{object}     ?at= &limit=
    POST /v1/tickets      {server}                            GET  /v1/status peers servers feeds routes
    POST /v1/trace        {server}                            POST /v1/ping           {server}
    POST DELETE /v1/peers/{server}/block  {direction}

Promised: the words of the Python API and the command, as JSON; errors of the few kinds of DESIGN U4 with the status of
their kind; a slow or greedy client costs a bounded time and size and never keeps others waiting; rows of a query
stream as they become certain.

In reading order:

    app.py       one request: token, route, a body within bounds, errors as JSON
    routes.py    path and method to word
    words.py     what each path does with the node
    indexing.py  /v1/explain, /v1/complete, /v1/history: what indexes and kept versions of one server tell
    ways.py      /v1/routes, /v1/trace, /v1/ping
    links.py     /v1/peers/*/block: links cut and mended at our port
    tending.py   /v1/check, /v1/log: the store looked at while it is in use
    outbox.py    /v1/outbox: changes that wait for their owner
    forms.py     values as JSON and back, rows as bytes
    listening.py who is let in, how many strangers at once, and for how long
    serve.py     sockets and the life of a server's process

Left to others: what the words mean (`node.node`), who may say them beyond the token (`identity.rights`).
"""
