"""What can be done with the list, by people with a browser and by programs.

Queries are built, and values are never written into SQL: a title may say whatever it likes.
"""

MAX_TITLE = 200
MAX_ID = 2**31 - 1


def with_booleans(rows):
    """SQLite has no booleans, it keeps 1 and 0."""
    for row in rows:
        row.done = bool(row.done)
    return rows


def changing(was):
    """For what changes items: results that were kept are out of date, in all workers."""
    return was.db('@todo', rm_cache='items', filter=with_booleans)


def answer(was, status, **values):
    """After a form the list is shown again; programs get JSON."""
    if was.request.acceptable('text/html'):
        return was.redirect(was.urlfor('index'), '303 See Other')
    return was.API(status, values)


def __mount__(app):
    @app.route('/', methods=['GET'])
    def index(was):
        """Both queries run at the same time, and no thread waits for them. While nothing is changed their
        results are kept. `left` is the field `count` of the one row of its query.
        """
        items = was.db('@todo', use_cache='items', filter=with_booleans).select('item')
        left = was.db('@todo', use_cache='items').select('item').filter(done=False)
        return was.render_or_Map(
            'index.j2',
            items=items.order_by('done', 'id').execute(),
            left__one__count=left.aggregate('count (*) AS count').execute(),
        )

    @app.route('/items', methods=['POST'])
    @app.inspect(title=str, title__len__lte=MAX_TITLE)
    def add(was, title):
        if not title.strip():
            raise was.Error('400 Bad Request', 'what is to be done?')
        query = changing(was).insert('item').set(title=title.strip(), done=False)
        return answer(was, '201 Created', item=query.returning('*').execute().one())

    # `one ()` answers with 410 where there is no such item. `<int:id>` would let the word 'me' through.

    @app.route('/items/<id>', methods=['POST', 'PATCH'])
    @app.inspect(id=int, id__between=(1, MAX_ID), booleans=['done'])
    def mark(was, id, done):
        query = changing(was).update('item').set(done=done).filter(id=id)
        return answer(was, '200 OK', item=query.returning('*').execute().one())

    @app.route('/items/<id>', methods=['DELETE'])
    @app.inspect(id=int, id__between=(1, MAX_ID))
    def remove(was, id):
        query = changing(was).delete('item').filter(id=id)
        return answer(was, '200 OK', item=query.returning('*').execute().one())

    @app.route('/archive', methods=['POST'])
    def tidy_up(was):
        """Items that are done go to the archive: all of them, or, if anything fails, none."""
        with was.transaction('@todo') as tx:
            done = tx.delete('item').filter(done=True).returning('id, title').execute().fetch()
            for item in done:
                tx.insert('archive').set(id=item.id, title=item.title).execute()
        was.setlu('items')
        return answer(was, '200 OK', archived=len(done))

    @app.route('/archive', methods=['GET'])
    def archive(was):
        return was.Map(items=was.db('@todo').select('archive').order_by('-id').execute())
