"""What the events benchmark is made of: contacts with two years of orders, questions, and systems that answer."""
