"""A small real task: route support tickets to teams whose names say nothing by themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from flock import DSPyEngine, Feedback, Flock, TuningExample, flock_type
from flock.engines.dspy.tuned import Content
from flock.testing import ScriptedEngine


@flock_type(name="tickets.Ticket")
class Ticket(BaseModel):
    """What a customer wrote."""

    text: str


@flock_type(name="tickets.Route")
class Route(BaseModel):
    """Which team takes care of the ticket."""

    team: Literal["amber", "cobalt", "jade"]


RIGHT = {
    "amber": [
        "I was charged twice for my subscription in March.",
        "My invoice shows the wrong VAT number.",
        "Please refund the annual fee, I cancelled last week.",
        "The discount code was not taken off the total.",
        "Which credit cards do you accept?",
        "Why did the price go up by two euros this month?",
        "My bank says your payment was declined.",
        "I need a receipt for my tax return.",
        "Can I pay by bank transfer instead?",
        "You billed me in dollars, I live in France.",
        "The refund has not reached my account yet.",
        "How do I change the billing address on invoices?",
        "I paid twice because the first payment seemed to hang.",
        "Is there a cheaper plan for students?",
    ],
    "cobalt": [
        "The app crashes when I open the settings page.",
        "I get error 500 when I upload a photo.",
        "The search box returns nothing since the update.",
        "My password reset link does not work.",
        "The screen stays black after I log in.",
        "Notifications are shown twice on my phone.",
        "The export to CSV produces an empty file.",
        "Your API answers with a timeout every morning.",
        "Dark mode makes the buttons invisible.",
        "I cannot install version 4.2 on Windows.",
        "The sync between laptop and phone stopped working.",
        "The video player freezes after ten seconds.",
        "Two-factor codes are always rejected as wrong.",
        "The page loads forever in Firefox.",
    ],
    "jade": [
        "My parcel should have arrived on Monday.",
        "The courier left the box at the wrong house.",
        "Can I change the delivery address of my order?",
        "The tracking number is unknown to the carrier.",
        "The package arrived wet and torn open.",
        "Do you ship to Norway?",
        "Half of the items were missing in the box.",
        "I was not at home, where is my parcel now?",
        "How long does shipping to Spain take?",
        "The driver did not ring the bell.",
        "Please send my order to a pick-up point.",
        "The parcel was returned to the sender by mistake.",
        "Could the delivery come after six in the evening?",
        "My order has been in transit for three weeks.",
    ],
}
"""Tickets by the team that takes care of them."""


def board(model: str | None = None) -> Flock:
    """Make the board, whose one agent routes tickets."""
    flock = Flock()
    flock.agent("router").description("Route the ticket to a team.").consumes(Ticket).publishes(
        Route
    ).with_engines(DSPyEngine(model, temperature=0.0, max_tokens=40))
    return flock


def examples() -> list[TuningExample]:
    """Make past runs with ids that are always the same, all routed to amber, and corrected."""
    wrong = Content.of_model(Route(team="amber"))
    return [
        TuningExample(
            id=f"{team}-{number}",
            agent="router",
            inputs=(Content.of_model(Ticket(text=text)),),
            outputs=(wrong,),
            score=float(team == "amber"),
            comment="" if team == "amber" else f"This is for {team}.",
            corrected=(Content(type="tickets.Route", version=1, payload={"team": team}),),
        )
        for team, texts in RIGHT.items()
        for number, text in enumerate(texts)
    ]


async def history() -> Flock:
    """Make a board on which every ticket was routed to amber, and people said what was right."""
    past = Flock()
    past.agent("router").consumes(Ticket).publishes(Route).with_engines(
        ScriptedEngine(lambda inputs: Route(team="amber"))
    )
    async with past:
        for team, texts in RIGHT.items():
            for text in texts:
                [made] = await past.arun("router", Ticket(text=text))
                right = team == "amber"
                await past.publish(
                    Feedback.about(
                        made,
                        score=1.0 if right else 0.0,
                        comment="" if right else f"This is for {team}.",
                        corrected=None if right else {"team": team},
                    )
                )
    return past
