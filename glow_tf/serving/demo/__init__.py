"""The web page of `python -m glow_tf demo`: pictures in, latents moved, pictures out.

    faces.py    finds a face and turns it to where the model's training images had it
    uploads.py  a file from a visitor -> an image of the model, or a message
    editor.py   what is done with the model
    pictures.py pictures as HTML
    actions.py  what each control does
    page.py     the page, in Gradio
    web.py      Gradio itself
    guard.py    which requests are let through
    storage.py  how much is kept of what visitors send
    ports.py    where it is served
    server.py   how it is served: to this machine only, behind the guard

Nothing is imported from here that a server without the page needs; Gradio and OpenCV are loaded when it starts.
"""
