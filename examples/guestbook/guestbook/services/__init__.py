"""What is around all services: the database connection, error pages, the job that tidies up."""

from contextlib import closing

from .. import pictures, storage
from . import entries, visitors


def __setup__(app):
    app.mount('', entries, visitors)


def __mount__(app):
    @app.before_request
    def connect(was):
        was.request.g.db = storage.connect(app.config.DATA)

    @app.teardown_request
    def disconnect(was):
        was.request.g.db.close()

    @app.error_handler(400)
    @app.error_handler(413)
    def refused(was, error):
        """A form that was refused is shown again, with what is wrong and what had been typed."""
        form_page = was.request.routable.get('options', {}).get('form_page')
        if form_page is None:
            return was.render('error.j2', error=error)
        return form_page(was, error=error, typed=typed(was))

    @app.error_handler(404)
    def not_found(was, error):
        return was.render('not-found.j2', error=error)

    @app.default_error_handler
    def failed(was, error):
        return was.render('error.j2', error=error)

    @app.template_filter('sentence')
    def sentence(text):
        """'parameter message required' -> 'Message required.'"""
        text = text.removeprefix('parameter ')
        return text[:1].upper() + text[1:].rstrip('.') + '.' if text else ''

    @app.maintain(60, once='host')
    def remove_orphans(was, now, count):
        """A minute after the start, then every hour: pictures whose entry could not be kept."""
        with closing(storage.connect(app.config.DATA)) as db:
            removed = pictures.remove_orphans(app.config.MEDIA_ROOT, storage.pictures_in_use(db), now)
        if removed:
            was.log(f'{removed} orphaned pictures removed')


def typed(was):
    try:
        return was.request.FORM or {}
    except was.Error:  # what came was no form at all
        return {}
