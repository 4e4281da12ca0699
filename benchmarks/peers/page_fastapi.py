"""FastAPI at the workload `page`: Starlette's sessions (signed by itsdangerous), Jinja2, a `def` handler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key='a secret of the benchmark')
templates = Jinja2Templates(Path(__file__).parent.parent / 'templates')
templates.env.trim_blocks = templates.env.lstrip_blocks = True  # the same bytes as ours

ITEMS = [{'number': number, 'name': f'item <{number}>', 'price': number * 1.5} for number in range(10)]


@app.get('/', response_class=HTMLResponse)
def sign_in(request: Request) -> str:
    request.session['user'] = 'hans'
    return 'signed in'


@app.get('/page', response_class=HTMLResponse)
def page(
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=40)],
    age: Annotated[int, Query(ge=0, le=150)],
    email: Annotated[str, Query(pattern=r'^[^@\s]+@[^@\s]+\.[a-z]+$')],
    page: Annotated[int, Query(ge=1)],
    sort: Literal['up', 'down'],
) -> Any:
    context = {
        'title': 'Items',
        'user': request.session.get('user'),
        'name': name,
        'age': age,
        'email': email,
        'page': page,
        'sort': sort,
        'items': ITEMS,
    }
    return templates.TemplateResponse(request, 'page.html', context)
