"""Signing in with a name, and out."""

MAX_NAME = 40


def must_be_signed_in(was):
    """For `@app.run_before`: whoever has told no name is asked for it."""
    if 'name' not in was.session:
        was.mbox.send('Please sign in first.', 'notice')
        return was.redirect(was.urlfor('visitors.sign_in'), '303 See Other')
    return None


def sign_in_page(was, **values):
    return was.render('sign-in.j2', max_name=MAX_NAME, **values)


def __mount__(app):
    @app.route('/sign-in', methods=['GET'])
    def sign_in(was):
        return sign_in_page(was)

    @app.route('/sign-in', methods=['POST'], form_page=sign_in_page)
    @app.inspect(required=['name'], name=str, name__len__lte=MAX_NAME)
    def enter(was, name=''):
        name = name.strip()
        if not name:
            raise was.Error('400 Bad Request', 'Please tell us your name')
        was.session.set('name', name)
        was.mbox.send(f'Welcome, {name}!', 'success')
        return was.redirect(was.urlfor('entries.index'), '303 See Other')

    @app.route('/sign-out', methods=['POST'])
    def sign_out(was):
        was.session.expire()
        was.mbox.send('Good bye!', 'success')
        return was.redirect(was.urlfor('entries.index'), '303 See Other')
