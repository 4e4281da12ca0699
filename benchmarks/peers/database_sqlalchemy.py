"""FastAPI with SQLAlchemy on psycopg: `def` handlers, one pool."""

from __future__ import annotations

import os
from pathlib import Path
from random import randint, sample
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(
    os.environ['PGURL'].replace('postgresql://', 'postgresql+psycopg://'), pool_size=16, max_overflow=0
)


class Base(DeclarativeBase):
    pass


class World(Base):
    __tablename__ = 'world'
    id: Mapped[int] = mapped_column(primary_key=True)
    randomnumber: Mapped[int]


class Fortune(Base):
    __tablename__ = 'fortune'
    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]


app = FastAPI()
templates = Jinja2Templates(Path(__file__).parent.parent / 'templates')
templates.env.trim_blocks = templates.env.lstrip_blocks = True  # the same bytes as ours


@app.get('/db')
def single() -> dict[str, int]:
    with Session(engine) as session:
        row = session.get_one(World, randint(1, 10000))
        return {'id': row.id, 'randomNumber': row.randomnumber}


@app.get('/queries')
def queries() -> dict[str, Any]:
    with Session(engine) as session:
        found = [session.get_one(World, number) for number in sample(range(1, 10001), 20)]
        return {'worlds': [{'id': row.id, 'randomNumber': row.randomnumber} for row in found]}


@app.get('/fortunes', response_class=HTMLResponse)
def fortunes(request: Request) -> Any:
    with Session(engine) as session:
        rows = session.scalars(select(Fortune)).all()
        found = [{'id': row.id, 'message': row.message} for row in rows]
    found.append({'id': 0, 'message': 'Additional fortune added at request time.'})
    found.sort(key=lambda fortune: fortune['message'])
    return templates.TemplateResponse(request, 'fortunes.html', {'fortunes': found})


@app.get('/', response_class=PlainTextResponse)
def index() -> str:
    return 'ready'
