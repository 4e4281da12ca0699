"""The guestbook: `python serve.py`, then open http://127.0.0.1:5000"""

import guestbook

import skitai

if __name__ == '__main__':
    skitai.mount('/', guestbook)
    skitai.run(port=5000, name='guestbook')
