"""The contract's first page works as printed."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

from pydantic import BaseModel

from flock import Flock


class Scan(BaseModel):
    patient: str


class XRay(BaseModel):
    patient: str
    finding: str


class Labs(BaseModel):
    patient: str
    crp: float


class Diagnosis(BaseModel):
    text: str


async def test_the_physician_waits_for_both_and_answers_once() -> None:
    flock = Flock("test")
    flock.agent("radiologist").consumes(Scan).publishes(XRay)
    flock.agent("lab").consumes(Scan).publishes(Labs)
    flock.agent("physician").consumes(XRay, Labs).publishes(Diagnosis)

    async with flock:
        await flock.publish(Scan(patient="p1"))
        await flock.run_until_idle()
        assert len(await flock.store.get_by_type(Diagnosis)) == 1


async def test_a_hundred_patients_are_not_mixed_up() -> None:
    flock = Flock()
    flock.agent("radiologist").consumes(Scan).publishes(XRay).calls(
        lambda scan: XRay(patient=scan.patient, finding="none")
    )
    flock.agent("lab").consumes(Scan).publishes(Labs).calls(
        lambda scan: Labs(patient=scan.patient, crp=1.0)
    )

    async def diagnose(xray: XRay, labs: Labs) -> Diagnosis:
        assert xray.patient == labs.patient
        return Diagnosis(text=xray.patient)

    flock.agent("physician").consumes(XRay, Labs).publishes(Diagnosis).calls(diagnose)
    async with flock:
        await flock.publish_many([Scan(patient=f"p{n}") for n in range(100)])
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (300, 0, 0)
        texts = {d.text for d in await flock.store.get_by_type(Diagnosis)}
        assert texts == {f"p{n}" for n in range(100)}
