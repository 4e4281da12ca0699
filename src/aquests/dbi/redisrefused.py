"""What of Redis and of redis-py there is not here, and what to use instead.

Two tables, which together with what works are all there is: a test goes through the server's `COMMAND LIST`
and through redis-py's methods, and every one of them works or has its words here.
"""

from __future__ import annotations

_STATE = 'it would change a connection that others use too'
_TRANSACTION = (
    'connections are shared: use a pipeline, which is a transaction, and its watch for what is read before'
)
_LISTEN = 'use subscribe, psubscribe or ssubscribe of the interface: they give a channel'
_REPLICA = 'it is for replicas'

#: Commands that cannot be sent by their words or by a method.
COMMANDS = {
    'SELECT': f'{_STATE}: an alias names one database, as in localhost/1, and another alias another one',
    'AUTH': f"{_STATE}: user and password are the member's, as in user:pass@localhost",
    'HELLO': f"{_STATE}: user and password are the member's, as in user:pass@localhost",
    'RESET': _STATE,
    'QUIT': f'{_STATE}: aquests.shutdown () closes all connections',
    'MULTI': _TRANSACTION,
    'EXEC': _TRANSACTION,
    'DISCARD': _TRANSACTION,
    'WATCH': _TRANSACTION,
    'UNWATCH': _TRANSACTION,
    'SUBSCRIBE': _LISTEN,
    'PSUBSCRIBE': _LISTEN,
    'SSUBSCRIBE': _LISTEN,
    'UNSUBSCRIBE': 'close the channel that subscribe gave',
    'PUNSUBSCRIBE': 'close the channel that psubscribe gave',
    'SUNSUBSCRIBE': 'close the channel that ssubscribe gave',
    'MONITOR': 'it never ends: use redis-cli monitor',
    'SYNC': _REPLICA,
    'PSYNC': _REPLICA,
    'REPLCONF': _REPLICA,
    'READONLY': f'{_STATE}: it is for clients of a Redis Cluster',
    'READWRITE': f'{_STATE}: it is for clients of a Redis Cluster',
    'ASKING': f'{_STATE}: it is for clients of a Redis Cluster',
    'CLIENT REPLY': f'{_STATE}: a Task that nobody fetches costs no wait',
    'CLIENT TRACKING': f'{_STATE}: was.db (..., use_cache = ...) keeps results',
    'CLIENT CACHING': f'{_STATE}: was.db (..., use_cache = ...) keeps results',
    'CLIENT SETNAME': _STATE,
    'CLIENT SETINFO': _STATE,
    'CLIENT CAPA': _STATE,
    'CLIENT NO-EVICT': _STATE,
    'CLIENT NO-TOUCH': _STATE,
    'SCRIPT DEBUG': f'{_STATE}: use redis-cli --ldb',
    'HIMPORT': f'{_STATE}, and holds for that one only: use hset',
}

_WATCH = 'use that of a pipeline: with db.pipeline () as pipe: pipe.watch (key)'
_MODULE = "a module's commands are sent by their words, as in execute ('JSON.GET', 'key')"
_WORDS = "redis-py has no method that does it: use execute ('{0}')"
_SENTINEL = "a sentinel's commands are sent by their words, as in execute ('SENTINEL MASTERS')"
_CLIENT = "it is about redis-py's own connections, which there are none of here"

#: Methods of redis-py's client that are no commands, or that cannot be had.
METHODS = {
    'command_docs': _WORDS.format('COMMAND DOCS'),
    'command_info': _WORDS.format('COMMAND INFO'),
    'debug_segfault': _WORDS.format('DEBUG SEGFAULT'),
    'digest_local': 'it asks no server; digest does',
    'failover': _WORDS.format('FAILOVER'),
    'hello': COMMANDS['HELLO'],
    'himport_discard': COMMANDS['HIMPORT'],
    'himport_discard_all': COMMANDS['HIMPORT'],
    'himport_discard_all_internal': COMMANDS['HIMPORT'],
    'himport_discard_internal': COMMANDS['HIMPORT'],
    'himport_prepare': COMMANDS['HIMPORT'],
    'himport_prepare_internal': COMMANDS['HIMPORT'],
    'himport_set': COMMANDS['HIMPORT'],
    'latency_doctor': _WORDS.format('LATENCY DOCTOR'),
    'latency_graph': _WORDS.format('LATENCY GRAPH'),
    'latency_histogram': _WORDS.format('LATENCY HISTOGRAM'),
    'memory_doctor': _WORDS.format('MEMORY DOCTOR'),
    'memory_help': _WORDS.format('MEMORY HELP'),
    'script_debug': COMMANDS['SCRIPT DEBUG'],
    'shutdown': "no answer to it is a success: use execute ('SHUTDOWN'), and expect a NetworkError",
    'unwatch': _WATCH,
    'watch': _WATCH,
    # -- not in its classes of commands
    'client': _CLIENT,
    'close': 'aquests.shutdown () closes all connections',
    'from_pool': _CLIENT,
    'from_url': 'skitai.alias says where the server is',
    'get_cache': 'was.db (..., use_cache = ...) keeps results',
    'get_connection_kwargs': _CLIENT,
    'get_encoder': _CLIENT,
    'get_retry': _CLIENT,
    'keyspace_notifications': "use psubscribe ('__keyspace@*__:*')",
    'load_external_module': _MODULE,
    'lock': 'use set (name, token, nx = True, px = milliseconds), and a script that deletes it',
    'monitor': COMMANDS['MONITOR'],
    'parse_response': _CLIENT,
    'pubsub': 'use subscribe, psubscribe or ssubscribe, which give a channel',
    'sentinel': _SENTINEL,
    'set_response_callback': 'was.db (..., filter = function) makes something of results',
    'set_retry': _CLIENT,
    **dict.fromkeys(('bf', 'cf', 'cms', 'ft', 'json', 'tdigest', 'topk', 'ts', 'vset'), _MODULE),
    **dict.fromkeys(
        (
            'sentinel_ckquorum',
            'sentinel_failover',
            'sentinel_flushconfig',
            'sentinel_get_master_addr_by_name',
            'sentinel_master',
            'sentinel_masters',
            'sentinel_monitor',
            'sentinel_remove',
            'sentinel_reset',
            'sentinel_sentinels',
            'sentinel_set',
            'sentinel_slaves',
        ),
        _SENTINEL,
    ),
}
