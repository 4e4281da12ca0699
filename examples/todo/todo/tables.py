"""The tables. Each worker makes those that are not there, one worker at a time."""

import skitai

#: How a database is told to number the rows.
KEYS = {
    skitai.DB_SQLITE3: 'integer PRIMARY KEY',
    skitai.DB_PGSQL: 'serial PRIMARY KEY',
}


def __mount__(app):
    @app.before_mount
    def make(was):
        with was.get_lock('tables'), was.db('@todo') as db:
            key = KEYS[db.alias.type]
            db.execute(
                [
                    f'CREATE TABLE IF NOT EXISTS item (id {key}, title text NOT NULL, done boolean NOT NULL)',
                    'CREATE TABLE IF NOT EXISTS archive (id integer PRIMARY KEY, title text NOT NULL)',
                ]
            ).commit()
