"""Entries: read by everybody, written by whoever has signed in."""

from atila.upload import UploadedFile

from .. import pictures, storage
from .visitors import must_be_signed_in

PER_PAGE = 10
MAX_MESSAGE = 10_000
FORMS = ('application/x-www-form-urlencoded', 'multipart/form-data')


def page_of_entries(was, page=1, q=''):
    """What the front page shows, and programs get."""
    db = was.request.g.db
    total = storage.count(db, q)
    pages = max(1, -(-total // PER_PAGE))
    if page > pages:
        raise was.Error('404 Not Found', f'there are {pages} pages')
    found = storage.newest(db, q, PER_PAGE, (page - 1) * PER_PAGE)
    entries = [with_urls(was, entry) for entry in found]
    return {'entries': entries, 'page': page, 'pages': pages, 'total': total, 'q': q}


def with_urls(was, entry):
    picture = entry['picture'] and was.media(entry['picture'])
    return {**entry, 'picture': picture, 'url': was.urlfor('entries.entry', entry['id'])}


def front_page(was, **values):
    return was.render('index.j2', **page_of_entries(was), **values)


def __mount__(app):
    @app.route('/', methods=['GET'])
    @app.inspect(page=int, page__gte=1, q=str, q__len__lte=100)
    def index(was, page=1, q=''):
        return was.render_or_API('index.j2', page_of_entries(was, page, q))

    @app.route('/entries/<int:id>', methods=['GET'])
    def entry(was, id):
        found = storage.find(was.request.g.db, id)
        if found is None:
            raise was.Error('404 Not Found', 'there is no such entry')
        return was.render_or_API('entry.j2', entry=with_urls(was, found))

    @app.route('/entries', methods=['POST'], content_types=FORMS, form_page=front_page)
    @app.run_before(must_be_signed_in)
    @app.inspect(required=['message'], message=str, message__len__lte=MAX_MESSAGE, picture=UploadedFile)
    def write(was, message='', picture=None):
        if not message.strip():
            raise was.Error('400 Bad Request', 'Please write something')
        name = None
        if picture is not None:
            if picture.size > pictures.MAX_SIZE:
                raise was.Error('413 Content Too Large', 'A picture may have 2 MB at most')
            name = pictures.keep(picture, app.config.MEDIA_ROOT)
            if name is None:
                raise was.Error('400 Bad Request', 'A picture is a PNG, JPEG, GIF or WebP file')
        storage.add(was.request.g.db, was.session['name'], message, name)
        was.mbox.send('Thank you for your entry.', 'success')
        return was.redirect(was.urlfor('entries.index'), '303 See Other')
